// A service with a WebSocket echo, an upload that answers with its digest, and a download of any length
// in which no two chunks are alike.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const CHUNK = 64 * 1024;

const chunk = number => {
  const bytes = Buffer.alloc(CHUNK, "x");
  bytes.writeUInt32BE(number);
  return bytes;
};

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://service");
  if (url.pathname === "/upload") {
    const digest = createHash("sha256");
    request.on("data", data => digest.update(data));
    request.on("end", () => response.end(digest.digest("hex")));
    return;
  }
  let left = Number(url.searchParams.get("bytes"));
  let sent = 0;
  response.writeHead(200, { "content-type": "application/octet-stream", "content-length": left });
  if (request.method === "HEAD") return response.end();
  const more = () => {
    while (left > 0) {
      const part = chunk(sent++).subarray(0, left);
      left -= part.length;
      if (!response.write(part)) return response.once("drain", more);
    }
    response.end();
  };
  more();
});
new WebSocketServer({ server }).on("connection", socket => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(Number(process.argv[2]), "127.0.0.1");
