// Requests, every metric, checks; then the page as a whole: its parts, its theme, its print.

const ROWS_SHOWN = 100;
const WIDTH_OF_PAPER = 680;

function gantt(host, { name, drawn, run }) {
  const part = section(host, 'Requests: ' + name, 'requests');
  const { rows, errors, count, every } = drawn.requests;
  if (!rows.length) {
    part.append(missing('requests.jsonl is not there, or no request was played'));
    return;
  }
  const pages = Math.ceil(rows.length / ROWS_SHOWN);
  let page = 0;
  const frame = el('div', { class: 'plot gantt', tabindex: 0, role: 'group', 'aria-roledescription': 'plot', 'aria-label': 'Requests over time. Arrow keys go from request to request.' });
  const live = el('span', { class: 'hidden', 'aria-live': 'polite' });
  const where = el('span', { class: 'where' });
  const go = (to) => {
    page = Math.max(0, Math.min(pages - 1, to));
    chart.at = null;
    chart.draw();
  };
  const pager = el('p', { class: 'pager', hidden: false }, el('button', { type: 'button', onclick: () => go(0) }, 'First'), el('button', { type: 'button', onclick: () => go(page - 1) }, 'Before'), where, el('button', { type: 'button', onclick: () => go(page + 1) }, 'Next'), el('button', { type: 'button', onclick: () => go(pages - 1) }, 'Last'));
  const legend = el('p', { class: 'keys' }, [['waiting', 'wait'], ['first token under way', 'prefill'], ['answering', 'decode'], ['failed', 'failed'], ['preempted', 'preempt']].map(([text, key]) => el('span', {}, el('i', { class: 'key ' + key }), ' ' + text)));
  const words = (row) => {
    const [id, arrival, admitted, first, last, tokens, preemptions, error] = row;
    const told = [`request ${id}: arrived at ${number(arrival)} s`, admitted === null ? 'never admitted' : `waited ${duration(admitted - arrival)}`, first === null ? 'no token came' : `TTFT ${duration(first - arrival)}`, tokens > 1 ? `TPOT ${duration((last - first) / (tokens - 1))}` : null, last === null ? null : `end to end ${duration(last - arrival)}`, `${tokens} tokens`, preemptions ? `preempted ${preemptions}×` : null, error === null ? null : 'failed: ' + errors[error]];
    return told.filter(Boolean);
  };
  const tell = (at, x, y) => {
    const lines = words(rows[page * ROWS_SHOWN + at]);
    showTip(frame, lines.map((line) => el('p', {}, line)), x, y);
    live.textContent = lines.join('; ');
  };
  const chart = {
    element: el('figure', { class: 'chart', 'data-chart': 'Requests' }, el('figcaption', {}, every > 1 ? `Every ${every}th of ${count} requests` : `${count} requests, in order of arrival`), legend, frame, live, pager, numbers(['request', 'arrived s', 'waited s', 'TTFT s', 'end to end s', 'tokens', 'preempted', 'failed'], () => rows.slice(page * ROWS_SHOWN, (page + 1) * ROWS_SHOWN).map(([id, arrival, admitted, first, last, tokens, preemptions, error]) => [String(id), arrival, admitted === null ? null : admitted - arrival, first === null ? null : first - arrival, last === null ? null : last - arrival, tokens, preemptions, error === null ? '' : errors[error]]), 'These requests as a table')),
    frame, at: null,
    draw() {
      const shown = rows.slice(page * ROWS_SHOWN, (page + 1) * ROWS_SHOWN);
      const width = frame.clientWidth || 640, pad = 46, right = width - 12;
      const pitch = shown.length > 40 ? 6 : shown.length > 12 ? 10 : 18, thick = pitch - (pitch > 6 ? 3 : 1);
      const end = Math.max(...shown.map((row) => row[4] ?? row[3] ?? row[2] ?? row[1])), start = Math.min(...shown.map((row) => row[1]));
      const x = (time) => pad + ((time - start) / (end - start || 1)) * (right - pad);
      const bottom = shown.length * pitch + 6;
      const root = svg('svg', { width, height: bottom + 36, role: 'img', 'aria-label': 'Requests over time' });
      const axes = svg('g', { class: 'axes', 'aria-hidden': true });
      for (const tick of ticks(start, end, (right - pad) / 90)) axes.append(svg('line', { x1: x(tick), x2: x(tick), y1: 0, y2: bottom, class: 'grid' }), svg('text', { x: x(tick), y: bottom + 15, 'text-anchor': 'middle' }, tickText(tick)));
      axes.append(svg('text', { x: (pad + right) / 2, y: bottom + 31, 'text-anchor': 'middle', class: 'name' }, 'seconds from the first arrival'));
      const data = svg('g', { class: 'data', 'data-series': 'requests', 'data-n': shown.length });
      shown.forEach((row, at) => {
        const [id, arrival, admitted, first, last, , preemptions, error] = row;
        const y = at * pitch + 3, group = svg('g', { class: 'request' });
        const block = (from, to, kind) => group.append(svg('rect', { x: x(from), width: Math.max(1, x(to) - x(from)), y, height: thick, class: kind }));
        block(arrival, admitted ?? last ?? end, 'wait');
        if (admitted !== null) block(admitted, first ?? last ?? end, error === null || first !== null ? 'prefill' : 'failed');
        if (first !== null) block(first, last, error === null ? 'decode' : 'failed');
        if (admitted === null && error !== null) group.append(svg('rect', { x: x(arrival), width: Math.max(3, x(end) - x(arrival)), y, height: thick, class: 'failed' }));
        if (preemptions) group.append(svg('rect', { x: x(last ?? end), width: 4, y, height: thick, class: 'preempt' }));
        if (pitch > 6 || at % 10 === 0) axes.append(svg('text', { x: pad - 6, y: y + thick / 2 + 4, 'text-anchor': 'end' }, String(id)));
        data.append(group);
      });
      const cursor = svg('rect', { class: 'rowcursor', x: pad, width: right - pad, height: pitch, visibility: 'hidden' });
      root.append(axes, cursor, data);
      frame.replaceChildren(root);
      where.textContent = ` ${page * ROWS_SHOWN + 1}–${page * ROWS_SHOWN + shown.length} of ${rows.length} `;
      pager.hidden = pages < 2;
      this.select = (row) => {
        cursor.setAttribute('visibility', row === null ? 'hidden' : 'visible');
        cursor.setAttribute('y', (row || 0) * pitch + 1);
      };
      this.rowAt = (clientY) => Math.floor((clientY - root.getBoundingClientRect().top - 1) / pitch);
      this.length = shown.length;
      this.placeOf = (row) => [root.getBoundingClientRect().left + pad, root.getBoundingClientRect().top + row * pitch];
    },
  };
  frame.addEventListener('pointermove', (event) => {
    const row = chart.rowAt(event.clientY);
    if (row < 0 || row >= chart.length) return hideTip(), chart.select(null);
    chart.select(row);
    tell(row, event.clientX, event.clientY);
  });
  for (const leave of ['pointerleave', 'blur']) frame.addEventListener(leave, () => (hideTip(), chart.select(null)));
  frame.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    chart.at = Math.max(0, Math.min(chart.length - 1, (chart.at ?? -1) + step));
    chart.select(chart.at);
    tell(chart.at, ...chart.placeOf(chart.at));
  });
  charts.add(chart);
  part.append(chart.element);
}

function everyMetric(host) {
  const part = section(host, 'Every metric', 'metrics');
  const filter = el('input', { type: 'search', id: 'filter', placeholder: 'ttft, throughput, energy …' });
  const words = el('input', { type: 'checkbox', id: 'words' });
  part.append(el('p', { class: 'picker' }, el('label', { for: 'filter' }, 'Show names with '), filter, ' ', words, el('label', { for: 'words' }, ' definitions in the table')));
  const tables = el('div', {});
  part.append(el('p', { class: 'quiet' }, 'A name tells its definition, and n/o (not observed) its reason, on hover, focus or tap; all reasons stand below the table.'), tables);
  const apply = () => {
    for (const row of tables.querySelectorAll('tr[data-metric]')) row.hidden = !row.dataset.metric.includes(filter.value.trim().toLowerCase());
    tables.classList.toggle('with-words', words.checked);
  };
  filter.addEventListener('input', apply);
  words.addEventListener('change', apply);
  for (const [at, result] of RESULTS.entries()) {
    const { results, runs } = result;
    const place = placeOf(tables, at, result.name);
    if (!results.runs.length) {
      place.append(missing('no load was played'));
      continue;
    }
    const head = el('tr', {}, el('th', { scope: 'col' }, 'Metric'), el('th', { scope: 'col' }, 'Unit'), runs.map((run) => el('th', { scope: 'col' }, run.name, el('br', {}), kindMark(results.kind))), el('th', { scope: 'col', class: 'word' }, 'Definition'));
    const body = ['metrics', 'extended'].flatMap((set) => [el('tr', { class: 'set' }, el('th', { colspan: runs.length + 3, scope: 'colgroup' }, set === 'metrics' ? 'The source report’s metrics' : 'Extended metrics')), ...Object.keys(results.runs[0][set]).map((key) => metricRow(results.runs, set, key))]);
    const gpus = results.runs.flatMap((run, at) => run.gpus.map((gpu) => ({ gpu, name: runs[at].name })));
    add(place, el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Every metric' }, el('table', { class: 'figures metrics' }, el('thead', {}, head), el('tbody', {}, body))));
    place.append(reasons(results.runs, runs));
    if (gpus.length) place.append(gpuTable(gpus));
  }
}
// Why what is null is null, for paper and for reading through.
function reasons(runs, drawn) {
  const names = new Map();
  runs.forEach((run, at) => {
    for (const [key, reason] of Object.entries(run.not_observed)) {
      const found = names.get(reason) || new Map();
      found.set(key, [...(found.get(key) || []), drawn[at].name]);
      names.set(reason, found);
    }
  });
  const whose = (loads) => (loads.length === runs.length ? '' : ` (${loads.join(', ')})`);
  const items = [...names].map(([reason, keys]) => el('li', {}, el('b', {}, reason), ': ', [...keys].map(([key, loads]) => key + whose(loads)).join(', ')));
  return el('details', { class: 'reasons' }, el('summary', {}, 'Not observed, and why'), el('ul', {}, items));
}
function metricRow(runs, set, key) {
  const unit = DATA.definitions[key]?.unit || '';
  const cells = runs.map((run) => {
    const value = run[set][key];
    if (value === null) return el('td', {}, absent(run.not_observed[key]));
    if (typeof value === 'object') return el('td', { class: 'text' }, Array.isArray(value) ? value.join(', ') || 'none' : Object.entries(value).map(([name, count]) => `${name} ${count}`).join(', '));
    if (typeof value === 'string') return el('td', { class: 'text' }, value);
    const low = run.extended.low_confidence.includes(key);
    const [shown, better] = scaled(value, unit);
    return el('td', { class: low ? 'low' : null, title: String(value) }, exact(shown), low ? '~' : '', better !== unit ? ' ' + better : '');
  });
  return el('tr', { 'data-metric': key.toLowerCase() }, el('th', { scope: 'row' }, term(key, () => definition(key), key)), el('td', { class: 'quiet' }, unit), cells, el('td', { class: 'word text' }, DATA.definitions[key]?.what || ''));
}
function gpuTable(gpus) {
  const keys = Object.keys(gpus[0].gpu).filter((key) => key !== 'not_observed');
  const head = el('tr', {}, el('th', { scope: 'col' }, 'Each GPU'), gpus.map(({ gpu, name }) => el('th', { scope: 'col' }, name, el('br', {}), 'GPU ' + gpu.index)));
  const cell = (gpu, key) => {
    const value = gpu[key] ?? null;
    if (value === null) return absent(gpu.not_observed[key]);
    if (typeof value === 'object') return Object.entries(value).map(([reason, seconds]) => `${reason} ${duration(seconds)}`).join(', ') || 'never';
    const [shown, unit] = scaled(value, DATA.definitions['gpu.' + key]?.unit || '');
    return typeof value === 'number' ? exact(shown) + ' ' + unit : value;
  };
  const rows = keys.map((key) => el('tr', { 'data-metric': key.toLowerCase() }, el('th', { scope: 'row' }, term(key, () => definition('gpu.' + key), 'gpu.' + key)), gpus.map(({ gpu }) => el('td', {}, cell(gpu, key)))));
  return el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Each GPU' }, el('table', { class: 'figures' }, el('thead', {}, head), el('tbody', {}, rows)));
}

function checks(host) {
  const part = section(host, 'Checks and failures', 'checks');
  for (const { run, drawn, name } of RUNS) {
    const broken = run.checks.filter((check) => !check.ok).length;
    const items = run.checks.map((check) => el('li', { class: check.ok ? '' : 'trouble' }, el('b', {}, check.ok ? 'holds' : 'DOES NOT HOLD'), ` ${check.name}: ${check.detail}`));
    part.append(el('details', { open: broken > 0 }, el('summary', {}, `${name}: ${run.checks.length - broken} of ${run.checks.length} checks hold`), el('ul', {}, items)));
    if (!drawn.failures) continue;
    const more = drawn.failures - run.failures.length;
    part.append(el('details', {}, el('summary', {}, `${name}: ${drawn.failures} requests failed`), el('ul', {}, run.failures.map((failure) => el('li', {}, `request ${failure.id}: ${failure.reason}`)), more > 0 && el('li', {}, `and ${more} more: results.json`))));
  }
}

function theme() {
  const button = document.getElementById('theme');
  const system = () => (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  const now = () => document.documentElement.dataset.theme || system();
  const say = () => (button.textContent = now() === 'dark' ? 'Light theme' : 'Dark theme');
  button.addEventListener('click', () => {
    document.documentElement.dataset.theme = now() === 'dark' ? 'light' : 'dark';
    say();
  });
  say();
}

const PARTS = document.getElementById('parts');
sweeps(PARTS);
if (RESULTS.length) {
  whatRan(PARTS);
  headline(PARTS);
  loads(PARTS);
  distributions(PARTS);
  runParts(PARTS);
}
profiles(PARTS);
if (RESULTS.length) {
  everyMetric(PARTS);
  checks(PARTS);
}
for (const heading of PARTS.querySelectorAll('h2')) document.getElementById('nav').append(el('a', { href: '#' + heading.id }, heading.textContent.split(':')[0]));
theme();
redraw();
addEventListener('beforeprint', () => redraw(WIDTH_OF_PAPER));
addEventListener('afterprint', () => redraw());
document.documentElement.dataset.ready = 'yes';
