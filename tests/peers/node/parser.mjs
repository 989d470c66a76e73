// The npm package `eventsource-parser` over `fetch`, with the reconnecting that its users write.
import { createParser } from "eventsource-parser";
import { setTimeout as pause } from "node:timers/promises";
import { tell } from "./transcript.mjs";

let last = "";
let retry = 300;
for (;;) {
  try {
    const headers = { accept: "text/event-stream" };
    if (last) headers["last-event-id"] = last;
    const response = await fetch(process.argv[2], { headers });
    if (!response.ok) throw new Error("status " + response.status);
    tell({ open: true });
    const parser = createParser({
      onEvent(event) {
        if (event.id !== undefined) last = event.id;
        if (event.event === "ssecar-gap") tell({ gap: JSON.parse(event.data) });
        else tell({ id: event.id, data: event.data });
      },
      onRetry(interval) {
        retry = interval;
      },
    });
    const decoder = new TextDecoder();
    for await (const chunk of response.body) parser.feed(decoder.decode(chunk, { stream: true }));
  } catch {
    // Cut off: the same as an end.
  }
  await pause(retry);
}
