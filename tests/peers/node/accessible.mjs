// Whether a page can be used by all: axe-core's rules, put in past the page's own policy, which lets nothing in.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** Fails with what is wrong where; `state` names what is on show. */
export async function assertAccessible(page, state) {
  await page.evaluate(`window.axe || (() => { ${axe} })(); 0`);
  const violations = await page.evaluate(async () => (await window.axe.run()).violations.map(
    ({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html, failureSummary }) => ({ html, failureSummary })) })));
  assert.deepEqual(violations, [], state);
}
