//! The credential that ssecar itself subscribes with (`--upstream-authorization-file`, spec 4.3).

use std::fmt;
use std::path::{Path, PathBuf};

use http::HeaderValue;

use super::error::UpstreamError;

/// The largest file that is taken for a credential, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A file with the value of an `Authorization` header, such as `Bearer abc`. It is read for each subscription, since
/// credentials are renewed by writing the file anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAuthorization {
    path: PathBuf,
}

/// Why a file holds no credential.
#[derive(Debug)]
pub struct NoAuthorization {
    path: PathBuf,
    cause: String,
}

impl OwnAuthorization {
    /// Checks that the file can be used now.
    ///
    /// # Errors
    /// [`NoAuthorization`]: it can't be read, is empty, too large, or no header value.
    pub fn open(path: &Path) -> Result<Self, NoAuthorization> {
        let this = Self { path: path.to_owned() };
        this.read_now()?;
        Ok(this)
    }

    /// The value as the file has it now.
    pub(super) async fn read(&self) -> Result<HeaderValue, UpstreamError> {
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || this.read_now()).await;
        match read {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(UpstreamError::no_credential(error)),
            Err(error) => Err(UpstreamError::no_credential(error)),
        }
    }

    fn read_now(&self) -> Result<HeaderValue, NoAuthorization> {
        let wrong = |cause: String| NoAuthorization { path: self.path.clone(), cause };
        let length = std::fs::metadata(&self.path).map_err(|error| wrong(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(wrong(format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read(&self.path).map_err(|error| wrong(error.to_string()))?;
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(wrong("empty".into()));
        }
        let mut value =
            HeaderValue::from_bytes(text).map_err(|_| wrong("no header value, on one line".into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Display for NoAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--upstream-authorization-file '{}': {}", self.path.display(), self.cause)
    }
}

impl std::error::Error for NoAuthorization {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_hold_one_header_value_and_is_read_anew() {
        let path = std::env::temp_dir().join(format!("ssecar-authorization-{}", std::process::id()));
        for (text, is_usable) in [("Bearer abc\n", true), ("\n", false), ("a\nb", false)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(OwnAuthorization::open(&path).is_ok(), is_usable, "{text:?}");
        }
        std::fs::write(&path, "Bearer 1\r\n").unwrap();
        let own = OwnAuthorization::open(&path).unwrap();
        std::fs::write(&path, "Bearer 2").unwrap();
        assert_eq!(own.read_now().unwrap(), "Bearer 2");
        std::fs::remove_file(&path).unwrap();
        let error = own.read_now().unwrap_err().to_string();
        assert!(error.starts_with("--upstream-authorization-file '"), "{error}");
        assert!(OwnAuthorization::open(&path).is_err());
    }
}
