// A page in Chromium: browser.mjs URL. Prints what the page logs, until it is stopped.
import { launch } from "../peers/node/browser.mjs";

const browser = await launch();
const page = await browser.newPage();
page.on("console", message => {
  if (message.type() === "log") console.log(message.text());
});
await page.goto(process.argv[2]);
await new Promise(() => {});
