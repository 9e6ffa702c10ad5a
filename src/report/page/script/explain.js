// From the data sheet to the server, and operations one by one.

// Each level stands on what it leaves; beside that, what it lost of the level above.
function waterfall(host, { name, drawn }) {
  const { levels, left_out: leftOut } = drawn.waterfall;
  const part = section(host, 'Where tokens a second are lost: ' + name, 'falls');
  const seen = levels.filter((level) => level.tokens_per_s !== null);
  if (seen.length < 2) {
    part.append(missing(levels.find((level) => level.reason)?.reason));
    return;
  }
  const top = seen[0], bottom = seen[seen.length - 1];
  const most = Math.max(...seen.map((level) => level.tokens_per_s));
  part.append(el('p', {}, `From ${top.name.replace('_', ' ')} ${number(top.tokens_per_s)} to ${bottom.name} ${number(bottom.tokens_per_s)} output tokens a second: ${number(top.tokens_per_s - bottom.tokens_per_s)} are lost, as much as the levels lost together. `, el('span', { class: 'quiet' }, 'A name tells what the level is. What a level that was not observed lost is in the next one.')));
  const head = el('tr', {}, ['level', 'tok/s', 'lost', '', 'of the top', 'whose'].map((text) => el('th', { scope: 'col' }, text)));
  const bar = (label, pieces) => {
    const drawnBar = svg('svg', { class: 'bar', viewBox: '0 0 100 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': label });
    for (const [from, to, kind] of pieces) drawnBar.append(svg('rect', { x: (100 * from) / most, width: Math.max(0, (100 * (to - from)) / most), y: 0, height: 10, class: kind }));
    return drawnBar;
  };
  // What rounding leaves of nothing is nothing.
  const clean = (lost) => (Math.abs(lost) < 1e-9 * top.tokens_per_s ? 0 : lost);
  const lostCells = (lost, drawnBar, whose) => [el('td', {}, lost === null ? '' : number(clean(lost))), el('td', { class: 'barcell' }, drawnBar), el('td', {}, lost === null ? '' : ((100 * clean(lost)) / top.tokens_per_s).toFixed(2) + ' %'), el('td', {}, whose)];
  let above = null;
  const rows = levels.flatMap((level) => {
    const title = level.name.replace('_', ' ').replace('server', 'server and client');
    const words = () => [el('p', {}, level.definition + '.'), level.note && el('p', { class: 'quiet' }, level.note + '.')].filter(Boolean);
    const named = el('th', { scope: 'row' }, term(title, words, null));
    const { tokens_per_s: rate, lost } = level;
    if (rate === null) return [el('tr', { 'data-level': level.name }, named, el('td', {}, absent(level.reason)), ...lostCells(null))];
    const pieces = [[0, Math.min(rate, above ?? rate), 'fill c0']];
    if (above !== null && lost !== 0) pieces.push(lost > 0 ? [rate, above, 'fill lost'] : [above, rate, 'fill c2']);
    let at = above;
    above = rate;
    const parts = level.parts.map((piece) => {
      const from = at - piece.lost;
      const row = el('tr', { class: 'piece' }, el('th', { scope: 'row' }, piece.name), el('td', {}), ...lostCells(piece.lost, bar(piece.name, [[Math.min(at, from), Math.max(at, from), piece.lost > 0 ? 'fill lost' : 'fill c2']])));
      at = from;
      return row;
    });
    return [el('tr', { 'data-level': level.name }, named, el('td', {}, number(rate)), ...lostCells(lost, bar(`${title}: ${number(rate)} tok/s`, pieces), kindMark(level.origin))), ...parts];
  });
  part.append(el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Where tokens a second are lost' }, el('table', { class: 'figures ranks' }, el('thead', {}, head), el('tbody', {}, rows))));
  const told = [...levels.filter((level) => level.reason).map((level) => `${level.name.replace('_', ' ')}: not observed: ${level.reason}`), ...leftOut.map((one) => `left out: ${one.name}: ${one.reason}`)];
  if (told.length) part.append(el('details', {}, el('summary', {}, 'Levels that were not observed, and why'), el('ul', {}, told.map((line) => el('li', {}, line)))));
}

function profiles(host) {
  for (const profile of DATA.profiles) {
    const name = `${profile.phase} of ${profile.batch} × ${profile.context} tokens`;
    const part = section(host, `Operations of a step: ${name}`, 'operations');
    const slice = profile.layers === profile.model_layers ? '' : `, first ${profile.layers} of ${profile.model_layers} layers`;
    part.append(el('p', {}, kindMark(profile.kind), ` ${profile.model.split('/').pop()}${slice} on ${profile.hardware}${profile.tp > 1 ? `, ${profile.tp} ranks` : ''}: a step takes ${duration(profile.step_us / 1e6)}, ${number(profile.tokens_per_s)} tok/s; ${number(100 * profile.host_share)} % of it in no operation.`));
    const cell = (value, scale) => el('td', {}, value === null ? '–' : number(scale ? value * scale : value));
    const heads = ['operation', 'calls', 'µs', '% of the step', 'GB/s', 'GFLOP/s', '% of the roof', 'bound by', 'µs above it'];
    const rows = profile.ops.map((op) => el('tr', {}, el('th', { scope: 'row' }, op.name), el('td', {}, String(op.calls)), cell(op.us), cell(op.share, 100), cell(op.gb_s), cell(op.gflop_s), cell(op.roof_fraction, 100), el('td', {}, op.bound ?? '–'), cell(op.gap_us)));
    rows.push(el('tr', {}, el('th', { scope: 'row' }, 'no operation'), el('td', {}), cell(profile.host_us), cell(profile.host_share, 100), ...Array.from({ length: 5 }, () => el('td', {}))));
    part.append(el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': `Operations of a step: ${name}` }, el('table', { class: 'figures' }, el('thead', {}, el('tr', {}, heads.map((text) => el('th', { scope: 'col' }, text)))), el('tbody', {}, rows))));
    part.append(operations(profile, name));
  }
}
// Of rank 0, as the rates of the table are.
function operations(profile, name) {
  const ops = profile.ops.filter((op) => op.flops > 0 && op.bytes > 0);
  const points = ops.map((op) => [op.flops / op.bytes, op.gflop_s, op.name, op.share, null, `${op.calls} calls, ${duration(op.us / 1e6)}`]);
  const roofs = profile.roofs && { read: profile.roofs.read_gb_s / profile.tp, flop: profile.roofs.gflop_s / profile.tp };
  const lines = [];
  if (roofs && points.length) {
    const ridge = roofs.flop / roofs.read, xs = points.map(([x]) => x);
    const from = Math.min(...xs, ridge / 4) / 1.5, to = Math.max(...xs, ridge * 4) * 1.5;
    lines.push({ name: `memory ${number(roofs.read)} GB/s`, points: [from, Math.sqrt(from * ridge), ridge].map((x) => [x, x * roofs.read]), class: 'roof', labelAt: 1, anchor: 'end', dx: -6, dy: -4 });
    lines.push({ name: `compute ${number(roofs.flop)} GFLOP/s`, points: [[ridge, roofs.flop], [to, roofs.flop]], class: 'roof', labelAt: 1, anchor: 'end', dx: -4, dy: -6 });
  }
  const include = lines.flatMap((line) => line.points);
  const series = [{ name: 'operations', draw: 'dots', colour: 0, shape: MARKS[profile.kind], size: (point) => 3 + 7 * Math.sqrt(point[3]), points }];
  return plotOr('Operations and the roofs: ' + name, series, { lines, height: 340, decorate: apart, right: (width) => (width < 560 ? 14 : 215), x: { label: 'FLOP a byte', unit: 'FLOP/byte', log: true, include: include.map(([x]) => x) }, y: { label: 'GFLOP/s', unit: 'GFLOP/s', log: true, include: include.map(([, y]) => y) } }, 'no operation computes');
}
