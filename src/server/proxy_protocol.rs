//! The client's address as a load balancer before us tells it: the PROXY protocol, version 2 (`--proxy-protocol`).

use std::io;
use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header};
use tokio::net::TcpStream;

/// The signature, the version, the command, the family, and the length of the rest.
const FIXED_BYTES: usize = 16;

/// The most that may follow: addresses and some extras. What they are is not looked at.
const REST_BYTES_MAX: usize = 2048;

/// Reads the header, and not a byte more: whose connection this is. `peer`: who connected to us.
///
/// # Errors
/// It is no such header, it is too large, or the connection ended.
pub(super) async fn read(stream: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let mut bytes = vec![0; FIXED_BYTES];
    read_exact(stream, &mut bytes).await?;
    let rest = usize::from(u16::from_be_bytes([bytes[FIXED_BYTES - 2], bytes[FIXED_BYTES - 1]]));
    // Else the length is that of something else.
    if bytes[..ppp::v2::PROTOCOL_PREFIX.len()] != *ppp::v2::PROTOCOL_PREFIX || rest > REST_BYTES_MAX {
        return Err(invalid("no PROXY protocol header of version 2"));
    }
    bytes.resize(FIXED_BYTES + rest, 0);
    read_exact(stream, &mut bytes[FIXED_BYTES..]).await?;
    let header = Header::try_from(&bytes[..]).map_err(|error| invalid(&error.to_string()))?;
    Ok(match (header.command, header.addresses) {
        // The balancer's own, a health check for example.
        (Command::Local, _) | (Command::Proxy, Addresses::Unspecified | Addresses::Unix(_)) => peer,
        (Command::Proxy, Addresses::IPv4(addresses)) => {
            (addresses.source_address, addresses.source_port).into()
        }
        (Command::Proxy, Addresses::IPv6(addresses)) => {
            (addresses.source_address, addresses.source_port).into()
        }
    })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

async fn read_exact(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<()> {
    let mut len = 0;
    while len < bytes.len() {
        stream.readable().await?;
        match stream.try_read(&mut bytes[len..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A header as a balancer writes it (haproxy.org, proxy-protocol.txt, 2.2), byte by byte.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// What is read of these bytes, and what is left for HTTP.
    async fn read_of(bytes: &[u8]) -> (io::Result<String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        for byte in bytes {
            client.write_all(&[*byte]).await.unwrap();
        }
        drop(client);
        let client = read(&stream, "198.51.100.9:9".parse().unwrap()).await;
        let mut left = Vec::new();
        stream.read_to_end(&mut left).await.unwrap();
        (client.map(|client| client.to_string()), left)
    }

    #[tokio::test]
    async fn the_client_is_whom_the_header_names_and_nothing_behind_it_is_read() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x10, 0, 0, 80];
        let mut request = header(1, 0x11, &v4);
        request.extend(b"GET");
        let (client, left) = read_of(&request).await;
        assert_eq!((client.unwrap().as_str(), &left[..]), ("192.0.2.1:4096", &b"GET"[..]));
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[15] = 7;
        v6[33] = 5;
        assert_eq!(read_of(&header(1, 0x21, &v6)).await.0.unwrap(), "[2001::7]:5");
        // With an extra behind the addresses.
        let extra = [&v4[..], &[0x04, 0, 1, 0]].concat();
        assert_eq!(read_of(&header(1, 0x11, &extra)).await.0.unwrap(), "192.0.2.1:4096");
        // A health check of the balancer's.
        assert_eq!(read_of(&header(0, 0, &[])).await.0.unwrap(), "198.51.100.9:9");
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..],
            &b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"[..],
            &header(1, 0x11, &[1, 2, 3])[..],
            &header(7, 0x11, &[0; 12])[..],
            &header(1, 0x11, &[0; REST_BYTES_MAX + 1])[..],
            &header(1, 0x11, &[0; 12])[..20],
        ] {
            assert!(read_of(bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
