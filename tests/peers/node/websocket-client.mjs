// Sends texts and bytes through a WebSocket, and says how many came back unchanged.
import WebSocket from "ws";

const socket = new WebSocket(process.argv[2]);
const sent = Array.from({ length: 200 }, (_, i) => Buffer.alloc(1 + i * 1000, String(i)));
let back = 0;
socket.on("open", () => sent.forEach((message, i) => socket.send(i % 2 ? message : message.toString())));
socket.on("message", (data, isBinary) => {
  if (!Buffer.from(data).equals(sent[back]) || isBinary !== Boolean(back % 2)) process.exit(1);
  if (++back === sent.length) socket.close(1000, "done");
});
socket.on("close", code => {
  console.log(JSON.stringify({ back, code }));
  process.exit(back === sent.length && code === 1000 ? 0 : 1);
});
