// A service with a WebSocket echo, an upload that counts, and a download of any length.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const chunk = Buffer.alloc(64 * 1024, "x");
const server = createServer((request, response) => {
  const url = new URL(request.url, "http://service");
  if (url.pathname === "/upload") {
    let length = 0;
    request.on("data", data => (length += data.length));
    request.on("end", () => response.end(String(length)));
    return;
  }
  let left = Number(url.searchParams.get("bytes"));
  response.writeHead(200, { "content-type": "application/octet-stream", "content-length": left });
  if (request.method === "HEAD") return response.end();
  const more = () => {
    while (left > 0) {
      const part = left < chunk.length ? chunk.subarray(0, left) : chunk;
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
