// Debian's Chromium, quiet, and gone when the test is.
import { chromium } from "playwright-core";

export async function launch() {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  process.on("SIGTERM", async () => {
    await browser.close().catch(() => {});
    process.exit(1);
  });
  return browser;
}
