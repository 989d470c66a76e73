// Chromium's own EventSource, in a page that comes through the proxy itself.
import { rmSync } from "node:fs";
import { chromium } from "playwright-core";
import { tell } from "./transcript.mjs";

const [page_url, stream_path, profile] = process.argv.slice(2);
rmSync(profile, { recursive: true, force: true });
const context = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, async () => {
    await context.close().catch(() => {});
    rmSync(profile, { recursive: true, force: true });
    process.exit(0);
  });
}
const page = context.pages()[0] ?? (await context.newPage());
await page.exposeFunction("tell", tell);
await page.goto(page_url);
await page.evaluate(path => {
  const source = new EventSource(path);
  source.onopen = () => tell({ open: true });
  source.onmessage = event => tell({ id: event.lastEventId, data: event.data });
  source.addEventListener("ssecar-gap", event => tell({ gap: JSON.parse(event.data) }));
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) tell({ dead: "closed for good" });
  };
}, stream_path);
