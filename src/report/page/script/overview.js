// What ran on what, the headline table, and the loads beside each other.

const RESULTS = DATA.results;
// Left out of the JSON where there are none.
for (const { results } of RESULTS) for (const run of results.runs) run.gpus ||= [];
const several = RESULTS.length > 1;
const titled = (part, text) => (several ? part.name + ': ' + text : text);
// As many results stand open; others below their names.
const UNFOLDED = 4;
function placeOf(part, at, name) {
  if (!several) return part;
  if (at < UNFOLDED) return add(part, el('h3', {}, name));
  const place = el('details', {}, el('summary', {}, name));
  part.append(place);
  return place;
}
const dashes = { measured: null, predicted: '7 4', virtual: '2 3', reference: '1 4' };

function facts(pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return el('dl', { class: 'facts' }, rows.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));
}
const layers = (model) => (model.num_hidden_layers === model.model_layers ? `${model.model_layers} layers` : `first ${model.num_hidden_layers} of ${model.model_layers} layers`);
function loadWords(scenario) {
  const load = scenario.concurrency ? `${scenario.concurrency} in flight` : scenario.request_rate ? `${scenario.rate_course ?? exact(scenario.request_rate)} requests/s (burstiness ${exact(scenario.burstiness ?? 1)})` : scenario.name;
  const input = scenario.input_len ?? ((scenario.turns ? `${scenario.turns} turns of ` : '') + (scenario.input_distribution ?? ''));
  const output = scenario.output_len ?? scenario.output_distribution;
  const lengths = input && output ? `${input} tokens in, ${scenario.stop_at_eos ? 'at most ' : ''}${output} out` : 'lengths of ' + (scenario.dataset || 'the data set');
  const bounds = [scenario.requests && `${scenario.requests} requests`, scenario.duration_s && `for ${exact(scenario.duration_s)} s, then ${scenario.at_end === 'cut' ? 'cut' : 'drained'}`].filter(Boolean);
  const { cancel, sampling } = scenario;
  const given = cancel ? `, ${exact(100 * cancel.share)} % cancelled${cancel.after_s ? ` after ${exact(cancel.after_s)} s` : ''}` : '';
  const drawn = sampling ? `, temperature ${exact(sampling.temperature)}, top-k ${sampling.top_k}, top-p ${exact(sampling.top_p)}` : '';
  return `${load}, ${bounds.join(' ')}, ${lengths}${given}${drawn}`;
}
function whatRan(host) {
  const part = section(host, 'What ran on what', 'what');
  for (const [at, { name, results, runs }] of RESULTS.entries()) {
    const place = placeOf(part, at, name);
    const { model, hardware, engine, environment } = results;
    const first = results.runs[0]?.scenario;
    const objective = first?.goodput && Object.entries(first.goodput).filter(([, ms]) => ms !== null).map(([what, ms]) => `${what.replace('_ms', '').toUpperCase()} ≤ ${exact(ms)} ms`).join(', ');
    const weights = results.kind === 'predicted' ? 'shapes alone: a prediction needs no weights' : model.weights === 'dummy' ? 'dummy (random)' : 'checkpoint';
    add(place, facts([
      ['Numbers', [kindMark(results.kind), results.kind === 'predicted' ? ' in virtual time' + (engine.server ? ', behind ' + engine.server : ', raw capacity without a server') : results.kind === 'virtual' ? ' GPU: no time is a measurement' : ' on this machine']],
      ['Model', `${model.name}, ${model.architecture}, ${model.parameters >= 1e9 ? number(model.parameters / 1e9) + ' B' : number(model.parameters / 1e6) + ' M'} parameters, ${layers(model)}`],
      ['Weights', `${weights}, ${model.quantization ? model.quantization + ' and ' : ''}${model.dtype}`],
      ['Assumed', model.assumptions?.length ? el('ul', {}, model.assumptions.map((sentence) => el('li', {}, sentence))) : null],
      ['Hardware', `${hardware.count > 1 ? hardware.count + ' × ' : ''}${hardware.name}, ${number(hardware.memory_gib)} GiB${hardware.count > 1 ? ' each' : ''}`],
      ['Split', engine.tp > 1 ? `tensor parallel over ${engine.tp} ranks${engine.expert_parallel ? ', experts whole' : ''}` : 'one rank'],
      ['Loads', el('ul', {}, results.runs.map((run, at) => el('li', {}, el('b', {}, runs[at].name), ' ' + loadWords(run.scenario))))],
      ['Objective', objective || 'none was given (--goodput)'],
      ['Method', first && `${first.warmup} warm-up requests outside the window, each load played ${first.repeats <= 1 ? 'once' : first.repeats + ' times'}, request timeout ${first.request_timeout_s === null ? 'none' : exact(first.request_timeout_s) + ' s'}, seed ${engine.seed}`],
      ['Scheduler', `${engine.scheduler}, ${engine.max_num_seqs} sequences, ${engine.max_num_batched_tokens} tokens a step, context ${engine.max_model_len}, prefix cache ${engine.prefix_cache ? 'on' : 'off'}${engine.cuda_graphs === false ? ', no CUDA graphs' : ''}`],
      ['KV cache', `${engine.num_kv_blocks} blocks of ${engine.block_size} tokens in ${engine.kv_cache_dtype}`],
      ['Arithmetic', `${engine.dtype}${engine.threads ? `, ${engine.threads} threads${engine.pin_threads ? ', pinned' : ''}` : ''}`],
      ['Program', `candlepower ${environment.candlepower}${environment.git ? ' ' + environment.git : ''}, ${environment.time}`],
    ]));
    place.append(el('details', {}, el('summary', {}, 'The machine and every setting'), tree({ environment, hardware, engine, model, start_up: results.start_up })));
  }
}
// Whatever the result says, key by key.
function tree(value) {
  if (value === null || typeof value !== 'object') return el('span', {}, value === null ? 'not known' : String(value));
  const entries = Array.isArray(value) ? value.map((item, at) => [String(at), item]) : Object.entries(value);
  if (!entries.length) return el('span', {}, 'none');
  return el('dl', { class: 'tree' }, entries.map(([key, item]) => el('div', {}, el('dt', {}, key), el('dd', {}, tree(item)))));
}

function headline(host) {
  const part = section(host, 'Headline, beside references', 'headline');
  for (const [at, result] of RESULTS.entries()) {
    const { heads, rows, notes } = result.beside;
    const place = placeOf(part, at, result.name);
    const head = el('tr', {}, el('th', { scope: 'col' }, 'Metric'), heads.map((head) => el('th', { scope: 'col', class: head.ours ? 'ours' : 'theirs' }, head.load, el('br', {}), kindMark(head.kind), el('br', {}), el('span', { class: 'quiet' }, head.whose))));
    const body = rows.map((row) => {
      const unit = DATA.definitions[row.key]?.unit || '';
      return el('tr', {}, el('th', { scope: 'row' }, term(row.name, () => definition(row.key), row.key), ' ', el('span', { class: 'quiet' }, unit)), row.cells.map((cell, column) => el('td', { class: heads[column].ours ? 'ours' : 'theirs' }, valueCell(cell, unit, heads[column]))));
    });
    place.append(el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Headline table' }, el('table', { class: 'figures' }, el('thead', {}, head), el('tbody', {}, body))));
    const uncertain = rows.some((row) => row.cells.some((cell) => cell.uncertain));
    const divided = rows.some((row) => row.cells.some((cell) => cell.ratio !== null));
    const unseen = rows.some((row) => row.cells.some((cell) => cell.value === null && cell.reason !== null));
    const legend = [unseen && 'n/o: not observed; why, on hover or focus.', divided && '×: this run’s figure over the reference’s, where both mean the same.', uncertain && '~: from fewer values than the percentile needs to be trusted.'].filter(Boolean);
    place.append(el('p', { class: 'quiet' }, legend.join(' ')));
    const failed = heads.filter((head) => head.failure).map((head) => `${head.whose}: failed: ${head.failure}`);
    const told = [...new Set([...failed, ...notes])];
    if (told.length) place.append(el('details', {}, el('summary', {}, 'What to know of the references'), el('ul', {}, told.map((note) => el('li', {}, note)))));
    if (!result.results.references.length) place.append(missing('no reference run of this model and load is known; --reference takes others'));
  }
}
function valueCell(cell, unit, head) {
  if (head.failure) return term('failed', () => [el('p', {}, head.failure)], null);
  if (cell.value === null) return cell.reason === null ? '–' : absent(cell.reason);
  const [value] = scaled(cell.value, unit);
  const shown = exact(value) + (cell.uncertain ? '~' : '');
  if (cell.ratio !== null) return [shown, ' ', el('span', { class: 'ratio' }, number(cell.ratio) + '×')];
  return cell.reason === null ? shown : [shown, ' ', term('?', () => [el('p', {}, 'Not divided: ' + cell.reason + '.')], null)];
}

// Metrics of a run's plays at one load: their mean.
const of = (run, key) => run.metrics[key] ?? run.extended[key] ?? null;
const ofReference = (run, key) => run.metrics[key] ?? run.extended?.[key] ?? null;
function byLoad(result, axis, value) {
  const groups = new Map();
  result.results.runs.forEach((run, at) => {
    const x = run.scenario[axis];
    const y = value(run);
    if (x === null || y === null) return;
    const group = groups.get(x) || { sum: 0, count: 0, name: result.runs[at].name.replace(/ #\d+$/, '') };
    group.sum += y;
    group.count += 1;
    groups.set(x, group);
  });
  return [...groups].sort((a, b) => a[0] - b[0]).map(([x, group]) => [x, group.sum / group.count, group.name + (group.count > 1 ? `, mean of ${group.count} plays` : '')]);
}
// References in groups of one machine and engine.
function references(result) {
  const groups = new Map();
  for (const run of result.results.references) {
    if (run.failure !== null) continue;
    const name = `${run.hardware.name}, ${run.backend}`;
    groups.set(name, [...(groups.get(name) || []), run]);
  }
  return groups;
}
const objectiveOf = (key) => [...new Set(RESULTS.flatMap(({ results }) => results.runs.map((run) => run.scenario.goodput?.[key] ?? null)).filter((ms) => ms !== null))];

function loads(host) {
  const part = section(host, 'Throughput and latency against load', 'loads');
  const axes = [['concurrency', 'requests in flight'], ['request_rate', 'requests a second']].filter(([axis]) => RESULTS.some(({ results }) => results.runs.some((run) => run.scenario[axis] !== null)));
  const grid = el('div', { class: 'plots' });
  part.append(grid);
  for (const [axis, label] of axes) {
    const x = { label, log: true, text: (value) => exact(value) + (axis === 'concurrency' ? ' in flight' : ' requests/s') };
    const published = axis === 'concurrency' ? RESULTS.flatMap(({ results }) => results.references.filter((run) => run.failure === null).map((run) => run.concurrency)) : [];
    const places = new Set([...RESULTS.flatMap(({ results }) => results.runs.map((run) => run.scenario[axis])), ...published].filter((place) => place !== null));
    if (places.size <= 8) Object.assign(x, { ticks: [...places].sort((a, b) => a - b) });
    if (places.size === 1) Object.assign(x, { from: [...places][0] / 2, to: [...places][0] * 2 });
    const series = (key, name, scale, more) => RESULTS.map((result, at) => ({ name: titled(result, name), draw: 'both', colour: at, dash: dashes[result.results.kind], shape: MARKS[result.results.kind], points: byLoad(result, axis, (run) => (of(run, key) === null ? null : of(run, key) * scale)), ...more })).filter((series) => series.points.length);
    const theirs = (key, name, scale) => RESULTS.flatMap((result, base) => [...references(result)].map(([whose, runs], at) => ({ name: `reference ${whose}${name}`, draw: 'both', colour: RESULTS.length + base + at, dash: dashes.reference, shape: MARKS.reference, hollow: true, points: axis === 'concurrency' ? runs.filter((run) => run.concurrency !== null && ofReference(run, key) !== null).map((run) => [run.concurrency, ofReference(run, key) * scale, 'c' + run.concurrency]).sort((a, b) => a[0] - b[0]) : [] }))).filter((series) => series.points.length);
    const rate = [...series('output_tokens_per_sec', `output tok/s, ${RESULTS[0].results.kind}`, 1), ...theirs('output_tokens_per_sec', '', 1)];
    grid.append(plotOr('Output throughput', rate, { x, y: { label: 'output tokens a second', unit: 'tok/s', from: 0 }, alwaysLegend: true }, 'no request succeeded'));
    const latency = (key, title, mean) => {
      const all = [50, 95].flatMap((p, at) => series(`p${p}_${key}_ms`, `p${p}`, 1, { hollow: at === 1 }).map((series) => ({ ...series, colour: series.colour * 2 + at })));
      const published = theirs(mean, ' (mean, as published)', 1e3);
      const bounds = objectiveOf(key + '_ms').map((ms) => ({ name: `objective ${exact(ms)} ms`, points: [[x.from || Math.min(...places) / 1.2, ms], [x.to || Math.max(...places) * 1.2, ms]], class: 'bound' }));
      const include = bounds.map((bound) => bound.points[0][1]);
      const why = RESULTS[0].results.runs[0]?.not_observed[`p50_${key}_ms`];
      return plotOr(title, [...all, ...published], { x, y: { label: 'milliseconds', unit: 'ms', log: true, include }, lines: bounds, alwaysLegend: true }, why);
    };
    grid.append(latency('ttft', 'Time to first token (TTFT)', 'avg_first_token_latency'), latency('tpot', 'Time per output token (TPOT)', 'avg_tpot'));
  }
  grid.append(frontier());
}
function plotOr(title, series, spec, why) {
  if (!series.some((one) => one.points.some((point) => point[1] !== null))) return el('figure', { class: 'chart', 'data-chart': title }, el('figcaption', {}, title), missing(why));
  return new Chart({ title, series, ...spec }).element;
}
// What a user sees against what the machine gives: nothing lies above and to the right of the line.
function frontier() {
  const rate = (run) => of(run, 'output_throughput_per_gpu') ?? of(run, 'output_throughput');
  const perGpu = RESULTS.some(({ results }) => results.runs.some((run) => of(run, 'output_throughput_per_gpu') !== null));
  const bounds = objectiveOf('tpot_ms');
  const any = ['ttft_ms', 'tpot_ms', 'e2el_ms'].some((key) => objectiveOf(key).length);
  const series = RESULTS.map((result, at) => ({
    name: titled(result, result.results.kind), draw: 'dots', colour: at, shape: MARKS[result.results.kind], labels: true,
    points: result.results.runs.map((run, index) => {
      const met = of(run, 'goodput_attainment_percent');
      const words = met === null ? null : `${number(met)} % of requests met the objective`;
      return [of(run, 'decode_speed_per_user'), rate(run), result.runs[index].name, 0, met !== null && met < 95 ? 'hollow' : null, words];
    }).filter(([x, y]) => x !== null && y !== null && y > 0).sort((a, b) => a[0] - b[0]),
  })).filter((series) => series.points.length);
  const theirs = RESULTS.flatMap((result, base) => [...references(result)].map(([whose, runs], at) => ({ name: 'reference ' + whose, draw: 'dots', colour: RESULTS.length + base + at, shape: MARKS.reference, hollow: true, labels: true, points: runs.filter((run) => run.metrics.avg_tpot && run.metrics.output_tokens_per_sec !== null).map((run) => [1 / run.metrics.avg_tpot, run.metrics.output_tokens_per_sec / (perGpu ? Math.max(1, run.hardware.gpus) : 1), 'c' + run.concurrency]).sort((a, b) => a[0] - b[0]) }))).filter((series) => series.points.length);
  const all = series.flatMap((one) => one.points);
  const best = all.filter(([x, y]) => !all.some(([ox, oy]) => ox >= x && oy >= y && (ox > x || oy > y))).sort((a, b) => a[0] - b[0]);
  const lines = best.length > 1 ? [{ name: '', points: best.map(([x, y]) => [x, y]), class: 'frontier' }] : [];
  const boxes = bounds.map((ms) => ({ x0: 1e3 / ms, y0: 0, name: `objective: TPOT ≤ ${exact(ms)} ms` }));
  const caption = (best.length > 1 ? 'No load lies above and to the right of the line. ' : '') + (any ? 'Hollow: fewer than 95 % of requests met the objective.' : 'No objective was given, so there is no box (--goodput).');
  return plotOr('Frontier: what a user sees against what ' + (perGpu ? 'a GPU' : 'the machine') + ' gives', [...series, ...theirs], { caption, alwaysLegend: true, lines, boxes, x: { label: 'tokens a second that one user sees', unit: 'tok/s', from: 0, include: bounds.map((ms) => 1.2e3 / ms) }, y: { label: 'output tokens a second' + (perGpu ? ' per GPU' : ''), unit: 'tok/s', from: 0 }, right: () => 40 }, 'no successful request has two output tokens');
}
