// Opens a page from disk in a real browser and prints one JSON object of what happened there.
// node browser.mjs MODULES CHROMIUM PAGE [--click SELECTOR] [--shot FILE] [--phone] [--dark] [--no-script]
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, executablePath, page_, ...rest] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const option = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : null);
const flag = (name) => rest.includes(name);

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext({
  viewport: flag("--phone") ? { width: 390, height: 844 } : { width: 1280, height: 900 },
  colorScheme: flag("--dark") ? "dark" : "light",
  reducedMotion: "reduce",
  bypassCSP: flag("--axe"),
  javaScriptEnabled: !flag("--no-script"),
});
const page = await context.newPage();
const errors = [], requests = [], dialogs = [];
page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
page.on("pageerror", (error) => errors.push(String(error)));
page.on("dialog", (dialog) => { dialogs.push(dialog.message()); dialog.dismiss(); });
page.on("request", (request) => { if (!/^(file|data):/.test(request.url())) requests.push(request.url()); });
const asked = performance.now();
await page.goto(pathToFileURL(page_).href);
await page.evaluate(() => document.body.getBoundingClientRect().height).catch(() => {}); // laid out, where scripts run
const found = { errors, requests, dialogs, openedMs: performance.now() - asked, title: await page.title() };
const inView = async (selector) => {
  const box = await page.locator(selector).first().boundingBox();
  if (box === null) return false;
  const { width, height } = page.viewportSize();
  const middle = box.x + box.width / 2; // a page of a PDF may be wider than the screen
  return box.y >= 0 && box.y < height && middle > 0 && middle < width;
};
const arrived = async (hash) => {
  for (let tries = 0; new URL(page.url()).hash !== hash; tries += 1) {
    if (tries === 200) throw new Error(`still at ${page.url()}, not at ${hash}`);
    await page.waitForTimeout(25);
  }
};
const click = option("--click");
if (click) {
  const target = await page.locator(click).first().getAttribute("href");
  found.quote = await page.locator(`${click} q`).first().textContent();
  await page.locator(click).first().click();
  await arrived(target);
  found.target = target;
  const words = page.locator(target).locator("xpath=.."); // the passage that the anchor stands in
  found.label = await words.getAttribute("aria-label");
  found.words = await words.textContent();
  found.wordsInView = await inView(`${target} >> xpath=..`);
  if (option("--shot")) await page.screenshot({ path: option("--shot") });
  const back = await words.getAttribute("href");
  await words.click();
  await arrived(back);
  found.back = back;
  found.valueInView = await inView(back);
}
if (flag("--boxes")) {
  // Of each page its boxes, and where the picture is red: both in pixels of the screen, from the picture's corner.
  found.papers = await page.evaluate(() => [...document.querySelectorAll(".paper")].map((paper) => {
    const img = paper.querySelector("img"), at = img.getBoundingClientRect();
    const canvas = document.createElement("canvas");
    canvas.width = img.naturalWidth; canvas.height = img.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(img, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    let red = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < data.length; i += 4) {
      if (data[i] < 200 || data[i + 1] > 128) continue;
      const x = (i / 4) % canvas.width, y = Math.floor(i / 4 / canvas.width);
      red = [Math.min(red[0], x), Math.min(red[1], y), Math.max(red[2], x + 1), Math.max(red[3], y + 1)];
    }
    const scale = at.width / canvas.width;
    return { red: red.map((each) => each * scale), boxes: [...paper.querySelectorAll("a")].map((a) => {
      const box = a.getBoundingClientRect();
      return [box.left - at.left, box.top - at.top, box.right - at.left, box.bottom - at.top];
    }) };
  }));
}
if (!flag("--no-script")) {
  found.wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  found.text = await page.evaluate(() => document.body.innerText);
  found.elements = await page.evaluate(() => ["script", "img", "iframe"].map((name) => document.querySelectorAll(`body ${name}`).length));
}
if (flag("--axe")) {
  await page.evaluate(readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run());
  found.violations = violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.slice(0, 3).map((each) => each.html.slice(0, 200)) }));
}
if (option("--shot") && !click) await page.screenshot({ path: option("--shot"), fullPage: flag("--full") });
console.log(JSON.stringify(found));
await browser.close();
