// Distributions of all runs, and what one run did: over time, step by step, request by request.

const RUNS = RESULTS.flatMap((result) => result.results.runs.map((run, at) => ({ result, run, drawn: result.runs[at], name: titled(result, result.runs[at].name), kind: result.results.kind })));

// Runs whose distributions are drawn at first; the legend has the others.
const MOST_DRAWN = 8;
function distributions(host) {
  const part = section(host, 'How latencies are distributed', 'latencies');
  const grid = el('div', { class: 'plots' });
  part.append(el('p', { class: 'quiet' }, 'The part of values at or below each latency, successful requests alone; n is the number of values.'), grid);
  const kinds = [['ttft', 'TTFT: first token less arrival'], ['tpot', 'TPOT: mean gap between a request’s tokens'], ['itl', 'ITL: every gap between tokens'], ['e2el', 'End to end: last token less arrival']];
  for (const [key, title] of kinds) {
    const series = RUNS.map(({ drawn, name, kind }, at) => {
      const { n, ms } = drawn.latencies[key];
      return { name: `${name} (n ${n})`, draw: ms.length < 30 ? 'both' : 'line', shape: ms.length < 30 ? MARKS[kind] : null, size: () => 2.5, colour: at, dash: at >= COLOURS ? '4 3' : null, hidden: at >= MOST_DRAWN, points: ms.map((value, rank) => [value, ms.length < 2 ? 100 : (100 * rank) / (ms.length - 1), `p${number((100 * rank) / Math.max(1, ms.length - 1))}`]), n };
    }).filter((series) => series.n);
    const chart = plotOr(title, series, { y: { label: '% of values', unit: '%', from: 0, to: 100 }, x: { label: 'milliseconds', unit: 'ms', log: true, text: (value) => duration(value / 1e3) }, alwaysLegend: true, table: percentiles(key) }, RUNS[0]?.run.not_observed[`mean_${key}_ms`]);
    grid.append(chart);
  }
}
function percentiles(key) {
  const columns = ['mean', 'p50', 'p90', 'p95', 'p99', 'max'];
  const rows = RUNS.map(({ run, name }) => el('tr', {}, el('th', { scope: 'row' }, name), el('td', {}, exact(run.extended.percentile_n[key])), columns.map((column) => {
    const metric = `${column}_${key}_ms`, value = run.extended[metric];
    const low = run.extended.low_confidence.includes(metric);
    return el('td', { class: low ? 'low' : null }, value === null ? absent(run.not_observed[metric]) : number(value) + (low ? '~' : ''));
  })));
  const table = el('table', { class: 'figures' }, el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'ms'), el('th', { scope: 'col' }, 'n'), columns.map((column) => el('th', { scope: 'col' }, column)))), el('tbody', {}, rows));
  return el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Percentiles' }, table);
}

function runParts(host) {
  if (!RUNS.length) return;
  const place = el('div', {});
  const best = RUNS.findIndex(({ result, run }) => result === RESULTS[0] && result.results.runs.indexOf(run) === result.verdict.best);
  if (RUNS.length > 1) {
    const choose = el('select', { id: 'run' }, RUNS.map(({ name, kind }, at) => el('option', { value: at, selected: at === Math.max(0, best) }, `${name}, ${kind}`)));
    choose.addEventListener('change', () => show(place, RUNS[Number(choose.value)]));
    host.append(el('p', { class: 'picker' }, el('label', { for: 'run' }, 'Run in the plots below: '), choose));
  }
  host.append(place);
  show(place, RUNS[Math.max(0, best)]);
}
function show(place, one) {
  for (const chart of charts) if (place.contains(chart.element)) charts.delete(chart);
  place.replaceChildren();
  timeLines(place, one);
  stepTimes(place, one);
  roofline(place, one);
  waterfall(place, one);
  gantt(place, one);
  redraw();
}
const middles = (steps, values) => values.map((value, at) => [(at + 0.5) * steps.bin, value]);

function timeLines(host, { name, drawn, run, kind }) {
  const part = section(host, 'Over time: ' + name, 'time');
  const { steps, telemetry } = drawn;
  if (!steps) {
    part.append(missing('no step was recorded, or steps.jsonl is not there'));
    return;
  }
  const end = steps.bin * steps.output.length;
  const linked = new Linked(0, end);
  const { steady_start: from, steady_end: until } = run.extended;
  const bands = from === null ? [] : [{ from: 0, to: from, class: 'ramp', name: 'ramp', label: 'ramp' }, { from: from, to: until, class: 'steady', name: 'steady state', label: 'steady state' }, { from: until, to: end, class: 'drain', name: 'drain', label: 'drain' }];
  const steadyWhy = from === null ? `Steady state: not observed (${run.not_observed.steady_start}).` : `Steady state from ${number(from)} to ${number(until)} s, ${number(run.extended.steady_share_percent)} % of the run, ${number(run.extended.steady_output_throughput)} tok/s in it.`;
  part.append(el('p', { class: 'quiet' }, kindMark(kind), ' ', steadyWhy, ' Drag to zoom, double-click for the whole; a bin is ' + duration(steps.bin) + '. '), linked.reset);
  const line = (label, values, colour, more) => ({ name: label, draw: 'line', colour, points: middles(steps, values), ...more });
  const panel = (title, series, y, more) => part.append(linked.add({ title, series, y, height: 150, ...more }));
  panel('Tokens a second', [line('output', steps.output, 0), line('prefill', steps.prefill, 1, { dash: '4 3', hidden: true })], { label: 'tok/s', unit: 'tok/s', from: 0 }, { bands });
  panel('Requests', [line('running', steps.running, 0), line('waiting', steps.waiting, 1, { dash: '4 3' })], { label: 'requests', unit: '', from: 0 }, { bands });
  const preempted = steps.preempted.map((count, at) => [(at + 0.5) * steps.bin, count]).filter(([, count]) => count > 0);
  const ticks = preempted.map(([x, count]) => ({ from: x - steps.bin / 2, to: x + steps.bin / 2, class: 'preempted', strip: true, name: `${count} preempted`, tell: true }));
  const kv = [line('KV blocks in use', steps.kv_percent, 2)];
  const seen = steps.kv_percent.some((value) => value !== null);
  const count = run.extended.preemptions;
  if (seen) panel(`KV occupancy, ${count === 0 ? 'no preemption' : count + ' preemptions (red, above)'}`, kv, { label: '% of KV blocks', unit: '%', from: 0, to: 100 }, { bands: [...bands.map((band) => ({ ...band, label: null })), ...ticks], alwaysLegend: true });
  else part.append(missing(run.not_observed.mean_kv_occupancy_percent));
  machine(part, linked, telemetry, run, end);
  if (run.gpus.length) part.append(el('ul', { class: 'quiet' }, run.gpus.map((gpu) => el('li', {}, `GPU ${gpu.index} (${gpu.name}): `, gpu.energy_j === null ? 'energy not observed: ' + gpu.not_observed.energy_j + '; ' : `energy ${number(gpu.energy_j)} J by ${gpu.energy_by === 'power' ? 'the integral of its power samples' : 'its counter'}; `, gpu.throttled_s === null ? 'throttling not observed: ' + gpu.not_observed.throttled_s : Object.keys(gpu.throttled_s).length ? 'throttled ' + Object.entries(gpu.throttled_s).map(([reason, seconds]) => `${duration(seconds)} by ${reason}`).join(', ') : 'never throttled'))));
}
function machine(part, linked, telemetry, run, end) {
  const inside = telemetry.time.map((time) => time >= 0 && time <= end);
  const line = (label, values, colour, more) => ({ name: label, draw: 'line', colour, points: telemetry.time.map((time, at) => [time, values[at]]).filter((_, at) => inside[at]), ...more });
  const bands = telemetry.gpus.flatMap((gpu, at) => gpu.throttled.map(([from, to, reasons]) => ({ from, to, class: 'throttled', tell: true, name: `GPU ${run.gpus[at]?.index ?? at} throttled: ${reasons.join(', ')}`, label: 'throttled' })));
  const panels = [['Power', 'power_watts', 'W', 'avg_gpu_power_watts', 0], ['SM clock', 'sm_clock_mhz', 'MHz', 'avg_gpu_clock_gr_mhz'], ['Temperature', 'temperature_c', '°C', 'avg_gpu_temp_C']];
  const gone = [];
  for (const [title, key, unit, metric, from] of panels) {
    const series = telemetry.gpus.map((gpu, at) => line(`GPU ${run.gpus[at]?.index ?? at}`, gpu[key], at)).filter((series) => series.points.some(([, value]) => value !== null));
    if (key === 'sm_clock_mhz') series.push(...telemetry.gpus.map((gpu, at) => line(`GPU ${run.gpus[at]?.index ?? at} memory`, gpu.memory_clock_mhz, at, { dash: '4 3', hidden: true })).filter((series) => series.points.some(([, value]) => value !== null)));
    if (series.length) part.append(linked.add({ title: title + (bands.length ? ', throttled where shaded' : ''), series, y: { label: unit, unit, from }, height: 150, bands, alwaysLegend: true }));
    else gone.push([title, run.not_observed[metric] || 'the card told nothing']);
  }
  for (const why of new Set(gone.map(([, why]) => why))) part.append(el('p', { class: 'missing' }, gone.filter(([, other]) => other === why).map(([title]) => title).join(', ') + ': not observed: ' + why + '.'));
  if (telemetry.cpu_percent.some((_, at) => inside[at])) part.append(linked.add({ title: 'Processor time of this process', series: [line('CPU', telemetry.cpu_percent, 3)], y: { label: '% of a core', unit: '%', from: 0 }, height: 120 }));
  else part.append(el('p', { class: 'missing' }, 'Processor: not observed: ' + (run.not_observed.cpu_percent || 'telemetry.csv has no sample in the run') + '.'));
}

function stepTimes(host, { name, drawn, run, result }) {
  const part = section(host, 'Step time by rank: ' + name, 'steps');
  const { steps } = drawn;
  const { engine } = result.results;
  if (!steps) {
    part.append(missing('no step was recorded, or steps.jsonl is not there'));
    return;
  }
  const mean = (values) => {
    const known = values.filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  const by = { 'host clock': 'by the host’s clock', 'device events': 'by events on the devices', formula: 'by formula: predicted' }[engine.timed_by] || engine.timed_by;
  const waits = steps.wait_ms.some((value) => value !== null);
  part.append(el('p', { class: 'quiet' }, `${run.extended.timed_steps} of ${run.extended.steps} steps were timed, ${by}. `, waits ? '' : `Waiting for the slowest rank: not observed apart (${run.not_observed.wait_share_percent || 'no step tells it'})${engine.tp > 1 ? '; it is in communication' : ''}.`));
  const rows = rankRows(run, engine, steps, mean);
  if (rows.length) part.append(bars(rows));
  else part.append(missing(run.not_observed.communication_share_percent));
  const linked = new Linked(0, steps.bin * steps.output.length);
  let below = steps.output.map(() => 0);
  const stack = [['compute', steps.compute_ms, 0], [waits || engine.tp < 2 ? 'communication' : 'communication, waits included', steps.communication_ms, 1], ['waiting', steps.wait_ms, 3]].filter(([, values]) => values.some((value) => value !== null && value > 0));
  const series = stack.map(([label, values, colour]) => {
    const points = values.map((value, at) => [(at + 0.5) * steps.bin, value === null ? null : value + below[at], null, below[at], null, null, value]).filter((point) => point[1] !== null);
    below = below.map((sum, at) => sum + (values[at] || 0));
    return { name: label, draw: 'area', colour, points };
  });
  const lines = [...series, { name: 'whole step', draw: 'line', colour: 2, points: middles(steps, steps.step_ms) }, { name: 'host: scheduling and packing', draw: 'line', colour: 5, dash: '4 3', hidden: true, points: middles(steps, steps.host_ms) }];
  part.append(linked.add({ title: 'Mean step over time', series: lines, y: { label: 'ms a step', unit: 'ms', from: 0 }, height: 190, alwaysLegend: true }), linked.reset);
}
function rankRows(run, engine, steps, mean) {
  if (steps.ranks.length) return steps.ranks.map((rank) => ({ name: `rank ${rank.rank}`, ...rank }));
  const compute = mean(steps.compute_ms);
  if (compute === null) return [];
  const one = { compute, communication: mean(steps.communication_ms) || 0, wait: mean(steps.wait_ms) };
  const whose = { 'host clock': 'rank 0', 'device events': engine.tp > 1 ? `mean of ${engine.tp} ranks` : 'rank 0' }[engine.timed_by];
  return whose ? [{ name: whose, ...one }] : Array.from({ length: Math.max(1, engine.tp) }, (_, rank) => ({ name: `rank ${rank}`, ...one }));
}
function bars(rows) {
  const most = Math.max(...rows.map((row) => row.compute + row.communication + (row.wait || 0)));
  const parts = [['compute', 0], ['communication', 1], ['wait', 3]];
  const head = el('tr', {}, ['rank', 'compute', 'communication', 'waiting', 'ms a step'].map((name) => el('th', { scope: 'col' }, name)));
  const body = rows.map((row) => {
    const bar = svg('svg', { class: 'bar', viewBox: '0 0 100 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': row.name });
    let at = 0;
    for (const [key, colour] of parts) {
      const width = (100 * (row[key] || 0)) / most;
      bar.append(svg('rect', { x: at, y: 0, width, height: 10, class: 'fill c' + colour, 'data-part': key }));
      at += width;
    }
    return el('tr', {}, el('th', { scope: 'row' }, row.name), el('td', {}, number(row.compute)), el('td', {}, number(row.communication)), el('td', {}, row.wait === null ? 'not observed' : number(row.wait)), el('td', { class: 'barcell' }, bar));
  });
  return el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Step time by rank' }, el('table', { class: 'figures ranks' }, el('thead', {}, head), el('tbody', {}, body)));
}

const share = (part) => (part < 0.001 ? '< 0.1 %' : (100 * part).toFixed(1) + ' %');

function roofline(host, { name, drawn, result, run }) {
  const part = section(host, 'Roofline: ' + name, 'roof');
  const { roofs, count } = result.results.hardware;
  const points = drawn.roofline;
  if (!points.length) {
    part.append(missing(run.not_observed.achieved_flop_per_s || 'no step was recorded, or steps.jsonl is not there'));
    return;
  }
  const whole = points.reduce((sum, point) => sum + point.seconds, 0);
  const kinds = ['prefill', 'mixed', 'decode'];
  const label = (point) => `${point.kind} ${point.tokens[0] === point.tokens[1] ? point.tokens[0] : point.tokens[0] + '–' + point.tokens[1]} tokens`;
  const shapes = ['square', 'triangle', 'circle'];
  const series = kinds.map((kind, colour) => ({ name: kind, draw: 'dots', colour, shape: shapes[colour], size: (point) => 3 + 7 * Math.sqrt(point[3]), points: points.filter((point) => point.kind === kind).map((point) => [point.flop_per_byte, point.flop_per_s / 1e9, label(point), point.seconds / whole, null, `${point.steps} steps, ${share(point.seconds / whole)} of the time`]) })).filter((series) => series.points.length);
  const xs = points.map((point) => point.flop_per_byte);
  const lines = [];
  const whose = result.results.kind === 'predicted' ? 'data sheet' : 'measured';
  if (roofs) {
    const ridge = roofs.flop_per_s / roofs.read_bytes_per_s;
    const from = Math.min(...xs, ridge / 4) / 1.5, to = Math.max(...xs, ridge * 4) * 1.5;
    const middle = Math.sqrt(from * ridge);
    lines.push({ name: `memory ${number(roofs.read_bytes_per_s / 1e9)} GB/s`, points: [from, middle, ridge].map((x) => [x, (x * roofs.read_bytes_per_s) / 1e9]), class: 'roof', labelAt: 1, anchor: 'end', dx: -6, dy: -4 });
    lines.push({ name: `compute ${number(roofs.flop_per_s / 1e9)} GFLOP/s`, points: [[ridge, roofs.flop_per_s / 1e9], [to, roofs.flop_per_s / 1e9]], class: 'roof', labelAt: 1, anchor: 'end', dx: -4, dy: -6 });
  }
  const include = lines.flatMap((line) => line.points);
  const about = roofs ? `Roofs of ${count > 1 ? 'all ' + count + ' devices' : 'the device'}, ${whose}.` : 'Roofs: not observed: ' + (run.not_observed.bandwidth_utilization_percent || 'they were not measured') + '.';
  part.append(el('p', { class: 'quiet' }, `Steps of one kind and of about as many tokens make a point; its area is their part of the time. ${about}`));
  const chart = new Chart({ title: 'What steps reach of the roofs', series, lines, height: 380, alwaysLegend: true, decorate: apart, right: (width) => (width < 560 ? 14 : 215), x: { label: 'FLOP a byte', unit: 'FLOP/byte', log: true, include: include.map(([x]) => x) }, y: { label: 'GFLOP/s', unit: 'GFLOP/s', log: true, include: include.map(([, y]) => y) } });
  part.append(chart.element);
}
// Labels of the points that took most of the time, in a column of their own, each with a line to its point.
function apart(chart, root) {
  if (chart.width < 560) return;
  const all = chart.shown().flatMap((series) => series.points.map((point) => ({ point, colour: series.colour })));
  const named = all.sort((a, b) => b.point[3] - a.point[3]).slice(0, 12).map(({ point, colour }) => ({ text: `${point[2]} (${share(point[3])})`, x: chart.x(point[0]), y: chart.y(point[1]), colour }));
  named.sort((a, b) => a.y - b.y);
  const gap = 17;
  let at = chart.top;
  for (const label of named) {
    label.at = Math.max(at, label.y - 6) + 6;
    at = label.at - 6 + gap;
  }
  let limit = chart.bottom - 4;
  for (const label of [...named].reverse()) {
    label.at = Math.min(label.at, limit);
    limit = label.at - gap;
  }
  const left = chart.right + 12;
  for (const label of named) {
    root.append(svg('path', { d: `M${label.x},${label.y}L${chart.right},${label.at}H${left - 2}`, class: 'leader c' + label.colour }));
    root.append(svg('text', { x: left, y: label.at + 4, class: 'apart' }, label.text));
  }
}
