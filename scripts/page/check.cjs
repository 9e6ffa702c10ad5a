// Uses each page as a reader would, in both themes and on two screens, and says what is not as it should be.
const fs = require('fs');
const path = require('path');
const { chromium } = require('playwright-core');

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
const OWN_BYTES = 300e3;
const MOST_BYTES = 5e6;
const MOST_MS = 2000;
// Screen, theme, and whether everything on it is used.
const LOOKS = [[1280, 'light', true], [390, 'dark', true], [1280, 'dark', false], [390, 'light', false]];
const wrong = [];
let held = 0;

function expect(what, good, found) {
  held += 1;
  if (!good) wrong.push(`${what}${found === undefined ? '' : `: ${JSON.stringify(found)}`}`);
}

// Points that are drawn, beside those that the series has and those of the data in the page.
function drawn() {
  const groups = [...document.querySelectorAll('[data-chart] [data-series]')];
  return groups.map((group) => {
    const line = group.querySelector('.line');
    const points = line ? (line.getAttribute('d').match(/[ML]/g) || []).length : group.querySelectorAll('.dot, .request').length;
    return { chart: group.closest('[data-chart]').dataset.chart, series: group.dataset.series, has: Number(group.dataset.n), points };
  });
}

function expected() {
  const data = JSON.parse(document.getElementById('data').textContent);
  const several = data.results.length > 1;
  const name = (result, at) => (several ? result.name + ': ' : '') + result.runs[at].name;
  const pressed = new Set([...document.querySelectorAll('.series[aria-pressed="true"]')].map((button) => button.textContent.trim()));
  const found = {};
  for (const result of data.results) {
    result.runs.forEach((run, at) => {
      for (const [key, title] of [['ttft', 'TTFT:'], ['tpot', 'TPOT:'], ['itl', 'ITL:'], ['e2el', 'End to end:']]) {
        const { n, ms } = run.latencies[key];
        const series = `${name(result, at)} (n ${n})`;
        if (n && pressed.has(series)) found[`${title} ${series}`] = ms.length;
      }
    });
  }
  const select = document.getElementById('run');
  const runs = data.results.flatMap((result) => result.runs);
  const run = runs[select ? Number(select.value) : 0];
  if (run?.steps) {
    found['Tokens a second output'] = run.steps.output.length;
    found['Requests running'] = run.steps.running.length;
    found['Requests waiting'] = run.steps.waiting.length;
  }
  if (run) found['Requests requests'] = Math.min(100, run.requests.rows.length);
  const rates = (run?.waterfall.levels || []).filter((level) => level.tokens_per_s !== null);
  if (rates.length > 1) found['Where tokens a second are lost'] = run.waterfall.levels.length;
  for (const { sweep } of data.sweeps) {
    const shown = sweep.points.filter((point) => point.tokens_per_s_per_user !== null && point.tokens_per_s_per_gpu !== null).length;
    if (shown) found['Frontier of the sweep'] = (found['Frontier of the sweep'] || 0) + shown;
  }
  for (const profile of data.profiles) found[`Operations and the roofs: ${profile.phase} of ${profile.batch} × ${profile.context} tokens`] = profile.ops.filter((op) => op.flops > 0 && op.bytes > 0).length;
  if (run?.roofline.length) found['What steps reach of the roofs'] = run.roofline.length;
  return found;
}

// Rows and bars of the waterfall: a row a level, and what is shown as lost adds up to the whole.
function fallen() {
  const rows = [...document.querySelectorAll('.falls tr[data-level]')];
  const cells = rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent.trim()));
  const rates = cells.map(([rate]) => rate).filter((rate) => /^[0-9]/.test(rate)).map(Number);
  const lost = cells.map(([, lost]) => Number(lost || 0)).reduce((sum, one) => sum + one, 0);
  const bars = [...document.querySelectorAll('.falls tr[data-level] .bar')].map((bar) => [...bar.querySelectorAll('rect')].reduce((sum, rect) => sum + Number(rect.getAttribute('width')), 0));
  return { rows: rows.length, rates, lost, bars };
}

async function plots(page, at) {
  const all = await page.evaluate(drawn);
  const { rows, rates, lost, bars } = await page.evaluate(fallen);
  if (rows) {
    all.push({ chart: 'Where tokens a second are lost', series: 'levels', has: rows, points: rows });
    expect(`${at}: what levels lost adds up`, Math.abs(rates[0] - rates[rates.length - 1] - lost) <= 2e-3 * Math.max(...rates) * rates.length, { rates, lost });
    expect(`${at}: each level has a bar`, bars.length === rates.length && bars.every((width) => width > 0 && width <= 100.01), bars);
  }
  for (const { chart, series, has, points } of all) expect(`${at}: ${chart}, ${series}: ${has} points are drawn`, has === points, points);
  const want = await page.evaluate(expected);
  for (const [what, count] of Object.entries(want)) {
    const fits = all.filter(({ chart, series }) => `${chart} ${series}` === what || what === chart || (what.endsWith(' ' + series) && what.slice(0, -series.length - 1) === chart.split(' ')[0]) || (what.startsWith('End to end: ') && chart.startsWith('End to end:') && what === `End to end: ${series}`));
    const sum = fits.reduce((total, { has }) => total + has, 0);
    expect(`${at}: ${what} has its ${count} points`, sum === count, fits);
  }
}

async function toggles(page, at) {
  const buttons = await page.$$('.legend:not([hidden]) .series');
  for (const button of buttons) {
    const visible = async () => button.evaluate((b) => [...b.closest('figure').querySelectorAll('[data-series]')].filter((g) => g.dataset.series === b.textContent.trim()).length);
    const [pressed, before] = [await button.getAttribute('aria-pressed'), await visible()];
    await button.evaluate((b) => b.click());
    const after = await visible();
    expect(`${at}: a toggle turns its series ${pressed === 'true' ? 'off' : 'on'}`, (await button.getAttribute('aria-pressed')) !== pressed && after !== before, await button.textContent());
    await button.evaluate((b) => b.click());
    expect(`${at}: and back`, (await visible()) === before, await button.textContent());
  }
  return buttons.length;
}

async function hovers(page, at) {
  const plots = await page.$$('.plot');
  for (const plot of plots) {
    const name = await plot.getAttribute('aria-label');
    await plot.scrollIntoViewIfNeeded();
    // A row or point may not lie in the middle; every plot has something below or beside it.
    const box = await (await plot.$('svg')).boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + Math.min(box.height / 2, 60));
    expect(`${at}: hover over ${name} tells something`, (await page.textContent('#tip')).trim() !== '' && (await page.isVisible('#tip')), name);
    await page.mouse.move(1, 1);
    await plot.focus();
    await page.keyboard.press(name.startsWith('Requests') && (await plot.evaluate((p) => p.classList.contains('gantt'))) ? 'ArrowDown' : 'ArrowRight');
    expect(`${at}: an arrow key in ${name} tells something`, await page.isVisible('#tip'));
    await page.keyboard.press('Escape');
    expect(`${at}: Escape hides it`, !(await page.isVisible('#tip')));
  }
  const terms = await page.$$('.term:visible');
  for (const term of [terms[0], terms[terms.length - 1]].filter(Boolean)) {
    await term.focus();
    expect(`${at}: a word tells what it means`, (await page.isVisible('#tip')) && (await page.textContent('#tip')).length > 10);
    await page.keyboard.press('Escape');
  }
  const keyed = await page.$$eval('.metrics .term[data-key]', (terms) => terms.filter((term) => !JSON.parse(document.getElementById('data').textContent).definitions[term.dataset.key]).map((term) => term.dataset.key));
  expect(`${at}: every metric has a definition`, keyed.length === 0, keyed);
  return plots.length;
}

async function zooms(page, at) {
  const plot = await page.$('[data-chart="Tokens a second"] .plot');
  if (!plot) return;
  await plot.scrollIntoViewIfNeeded();
  const box = await (await plot.$('svg')).boundingBox();
  const reset = page.locator('.time .reset');
  await page.mouse.move(box.x + box.width * 0.4, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 40, { steps: 4 });
  await page.mouse.up();
  expect(`${at}: a drag zooms`, await reset.isVisible());
  await plot.focus();
  await page.keyboard.press('0');
  expect(`${at}: 0 shows the whole run`, !(await reset.isVisible()));
  await page.keyboard.press('ArrowRight');
  const shared = await page.$$eval('.time .cursor', (lines) => lines.every((line) => line.getAttribute('visibility') === 'visible'));
  expect(`${at}: one readout follows the other`, shared);
}

async function one(browser, file, { width, theme, used }) {
  const at = `${path.basename(path.dirname(file))}/${path.basename(file)} ${width} px ${theme}`;
  const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme: theme });
  const requests = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => expect(`${at}: the console is silent`, false, message.text()));
  page.on('pageerror', (error) => expect(`${at}: no error`, false, error.message));
  page.on('dialog', (dialog) => (expect(`${at}: no dialog`, false, dialog.message()), dialog.dismiss()));
  const start = Date.now();
  await page.goto('file://' + file);
  await page.waitForFunction(() => document.documentElement.dataset.ready === 'yes', null, { timeout: 10000 }).catch(() => expect(`${at}: the script ends`, false));
  const took = Date.now() - start;
  expect(`${at}: opens within ${MOST_MS} ms`, took < MOST_MS, took);
  expect(`${at}: nothing is loaded`, requests.length === 1, requests);
  expect(`${at}: no name became markup`, await page.evaluate(() => window.hostile === undefined && !document.querySelector('img, iframe, object') && document.scripts.length === 2));
  expect(`${at}: fits the screen`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  expect(`${at}: the theme is the reader's`, (light === 'rgb(255, 255, 255)') === (theme === 'light'), light);
  const has = await page.evaluate(() => {
    const { results, sweeps, profiles } = JSON.parse(document.getElementById('data').textContent);
    return { results: results.length, sweeps: sweeps.length, profiles: profiles.length };
  });
  const order = [has.sweeps && 'Sweep', ...(has.results ? ['What ran on what', 'Headline', 'Throughput and latency', 'How latencies', 'Over time', 'Step time', 'Roofline', 'Where tokens', 'Requests'] : []), has.profiles && 'Operations', has.results && 'Every metric'].filter(Boolean);
  const heads = await page.$$eval('h2', (heads) => heads.map((head) => head.textContent));
  let place = -1;
  for (const word of order) {
    const next = heads.findIndex((head, index) => index > place && head.startsWith(word));
    expect(`${at}: ${word} stands in its place`, next > place, heads);
    place = next;
  }
  expect(`${at}: the verdict comes first`, (await page.$eval('main h1', (h1) => h1.getBoundingClientRect().top)) < 200);
  expect(`${at}: text is readable`, await page.$$eval('p, td, th, li, dd, button, svg text', (texts) => texts.every((text) => parseFloat(getComputedStyle(text).fontSize) >= 11)));
  expect(`${at}: numbers can be selected`, await page.$$eval('td', (cells) => cells.every((cell) => getComputedStyle(cell).userSelect !== 'none')));
  expect(`${at}: pictures and buttons have names`, await page.$$eval('svg[role=img], button', (all) => all.every((one) => one.getAttribute('aria-label') || one.textContent.trim())));
  await plots(page, at);
  if (process.env.SCREENSHOTS) await page.screenshot({ path: path.join(process.env.SCREENSHOTS, at.replace(/\W+/g, '-') + '.png'), fullPage: true });
  if (!used) {
    await page.close();
    return { took };
  }
  const counts = { plots: await hovers(page, at), toggles: await toggles(page, at) };
  await zooms(page, at);
  await page.evaluate(() => document.getElementById('theme').click());
  expect(`${at}: the button changes the theme`, (await page.evaluate(() => getComputedStyle(document.body).backgroundColor)) !== light);
  const select = await page.$('#run');
  if (select) {
    await select.selectOption('0');
    const name = await page.$eval('#run option:checked', (option) => option.textContent.replace(/, \w+$/, ''));
    expect(`${at}: another run is shown`, (await page.$$eval('h2', (heads) => heads.map((head) => head.textContent))).includes('Over time: ' + name), name);
    await plots(page, at + ', another run');
  }
  if (width > 600 && theme === 'light') {
    const paper = await page.pdf({ format: 'A4' });
    expect(`${at}: prints`, paper.length > 20e3, paper.length);
  }
  await page.close();
  return { ...counts, took };
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: FLAGS });
  for (const file of process.argv.slice(2)) {
    const text = fs.readFileSync(file, 'utf8');
    const data = text.match(/<script type="application\/json" id="data">(.*?)<\/script>/s)[1];
    expect(`${file}: ${OWN_BYTES} bytes besides data`, text.length - data.length < OWN_BYTES, text.length - data.length);
    expect(`${file}: ${MOST_BYTES} bytes`, text.length < MOST_BYTES, text.length);
    const told = [];
    for (const [width, theme, used] of LOOKS) told.push(await one(browser, file, { width, theme, used }));
    console.log(`${path.basename(path.dirname(file))}/${path.basename(file)}: ${text.length} bytes, ${told[0].plots} plots, ${told[0].toggles} toggles, opened in ${told.map(({ took }) => took).join(', ')} ms`);
  }
  await browser.close();
  for (const line of wrong) console.log('WRONG ' + line);
  console.log(`${held - wrong.length} of ${held} checks of the page hold`);
  process.exit(wrong.length ? 1 : 0);
})();
