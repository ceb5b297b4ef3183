// Opens pages of `mpwasm report` in Chromium, without a network, takes pictures of them, and fails if one is broken.
//
// node check.mjs CHROMIUM PICTURES PAGE...
//
// Run by `cargo xtask report-pictures` in a folder with the packages of package.json.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [executablePath, pictures, ...pages] = process.argv.slice(2);
const faults = [];

// Returns the elements whose text does not fit, apart from those in areas that can be scrolled.
function cutTexts() {
  const cut = [];
  if (document.scrollingElement.scrollWidth > innerWidth) cut.push(`the page is ${document.scrollingElement.scrollWidth} pixels wide`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || parent.closest(".scroll, .skip, script, .uplot")) continue;
    range.selectNodeContents(walker.currentNode);
    for (const box of range.getClientRects()) {
      if (box.left < -1 || box.right > innerWidth + 1) cut.push(`"${walker.currentNode.data.slice(0, 60)}" ends at ${box.right} of ${innerWidth}`);
    }
  }
  for (const element of document.querySelectorAll("body *")) {
    const style = getComputedStyle(element);
    const clips = style.overflowX !== "visible" && style.overflowX !== "auto";
    if (clips && element.scrollWidth > element.clientWidth + 1 && !element.closest(".uplot, svg")) cut.push(`<${element.localName}> is cut`);
  }
  return cut;
}

// Returns the ids of charts without any mark.
function emptyCharts() {
  const colours = ["good-mark", "bad-mark"].map((name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim());
  const wanted = colours.map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  const isMarked = (canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      if (wanted.some(([r, g, b]) => data[at] === r && data[at + 1] === g && data[at + 2] === b)) return true;
    }
    return false;
  };
  return [...document.querySelectorAll("figure")].filter((figure) => figure.hidden || !isMarked(figure.querySelector("canvas"))).map((figure) => figure.id);
}

async function open(browser, path, width, colorScheme, bypassCSP) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP, offline: true });
  const page = await context.newPage();
  const name = `${basename(path, ".html")}-${width}-${colorScheme}`;
  const fault = (text) => faults.push(`${name}: ${text}`);
  page.on("console", (message) => fault(`the console says: ${message.text()}`));
  page.on("pageerror", (error) => fault(`the script failed: ${error}`));
  page.on("dialog", (dialog) => { fault("a dialog was opened"); dialog.dismiss(); });
  page.on("request", (request) => { if (request.url() !== page.url() && !request.isNavigationRequest()) fault(`${request.url()} was requested`); });
  await page.goto(pathToFileURL(path).href);
  // The charts follow the width of their place.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  return { page, name, fault, close: () => context.close() };
}

// Uses the page with the keyboard alone.
async function useKeyboard({ page, fault }) {
  await page.keyboard.press("Tab");
  const skip = await page.evaluate(() => document.activeElement.className);
  if (skip !== "skip") fault("the first tab stop is not the link that skips to the report");
  const zoomIn = page.locator("[data-zoom=in]");
  if (await zoomIn.count() > 0) {
    await zoomIn.focus();
    await page.keyboard.press("Enter");
    const range = page.locator("#timeline-chart .range");
    await range.filter({ hasText: "are shown" }).waitFor({ timeout: 5000 }).catch(() => fault("the timeline was not zoomed"));
    await page.locator("[data-zoom=all]").focus();
    await page.keyboard.press("Space");
    await range.filter({ hasText: /^$/ }).waitFor({ timeout: 5000, state: "attached" }).catch(() => fault("the timeline did not show all again"));
  }
  for (const summary of await page.locator("main summary").all()) {
    await summary.focus();
    await page.keyboard.press("Enter");
  }
  const closed = await page.locator("main details:not([open])").count();
  if (closed > 0) fault(`${closed} parts can't be opened with the keyboard`);
}

// Uses the timeline with the pointer.
async function usePointer({ page, fault }) {
  const over = page.locator("#timeline-chart .u-over");
  if (await over.count() === 0) return;
  await over.scrollIntoViewIfNeeded();
  const box = await over.boundingBox();
  const y = box.y + 5;
  await page.mouse.move(box.x + box.width * 0.3, y);
  const readout = await page.locator("#timeline-chart .readout").textContent();
  if (!readout.includes("worker")) fault(`the timeline says "${readout}" under the pointer`);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, y, { steps: 5 });
  await page.mouse.up();
  const range = page.locator("#timeline-chart .range");
  await range.filter({ hasText: "are shown" }).waitFor({ timeout: 5000 }).catch(() => fault("the timeline was not zoomed with the pointer"));
}

const browser = await chromium.launch({ executablePath, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
for (const path of pages) {
  for (const width of [1280, 390]) {
    for (const scheme of ["light", "dark"]) {
      const opened = await open(browser, path, width, scheme, false);
      const { page, name, fault } = opened;
      (await page.evaluate(cutTexts)).forEach(fault);
      for (const id of await page.evaluate(emptyCharts)) fault(`${id} is empty`);
      await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
      await useKeyboard(opened);
      (await page.evaluate(cutTexts)).forEach(fault);
      await page.screenshot({ path: join(pictures, `${name}-open.png`), fullPage: true });
      await usePointer(opened);
      await opened.close();
      // The policy of the page forbids this script too.
      const checked = await open(browser, path, width, scheme, true);
      await useKeyboard(checked);
      await checked.page.evaluate(axe);
      const { violations } = await checked.page.evaluate(() => globalThis.axe.run());
      for (const { id, help, nodes } of violations) checked.fault(`${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`);
      await checked.close();
      console.log(`${name}: ${faults.length} faults so far`);
    }
  }
}
await browser.close();
for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
