// The npm package `eventsource`, as its readme uses it.
import { EventSource } from "eventsource";
import { tell } from "./transcript.mjs";

const source = new EventSource(process.argv[2]);
source.onopen = () => tell({ open: true });
source.onmessage = event => tell({ id: event.lastEventId, data: event.data });
source.addEventListener("ssecar-gap", event => tell({ gap: JSON.parse(event.data) }));
source.onerror = error => {
  if (source.readyState === EventSource.CLOSED) {
    tell({ dead: String(error.message ?? error.code) });
    process.exit(1);
  }
};
