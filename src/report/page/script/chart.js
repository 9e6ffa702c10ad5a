// One plot: axes, series that a legend toggles, bands, and a readout under the pointer or the arrow keys.

const MARKS = { measured: 'circle', predicted: 'diamond', virtual: 'triangle', reference: 'square' };
const COLOURS = 6;
const charts = new Set();

function mark(shape, x, y, size, attributes) {
  const paths = {
    circle: `M${x - size},${y}a${size},${size} 0 1,0 ${2 * size},0a${size},${size} 0 1,0 ${-2 * size},0Z`,
    diamond: `M${x},${y - 1.3 * size}L${x + 1.3 * size},${y}L${x},${y + 1.3 * size}L${x - 1.3 * size},${y}Z`,
    triangle: `M${x},${y - 1.2 * size}L${x + 1.2 * size},${y + size}L${x - 1.2 * size},${y + size}Z`,
    square: `M${x - size},${y - size}h${2 * size}v${2 * size}h${-2 * size}Z`,
  };
  return svg('path', { d: paths[shape], ...attributes });
}

function ticks(low, high, count, log) {
  if (log && high / low >= 8) {
    const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
    const steps = to - from > 4 ? [1] : to - from > 2 ? [1, 3] : [1, 2, 5];
    const found = [];
    for (let power = from; power <= to; power += 1) for (const step of steps) found.push(step * 10 ** power);
    const inside = found.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
    const every = Math.ceil(inside.length / Math.max(2, count + 2));
    return inside.filter((_, at) => at % every === 0);
  }
  const rough = (high - low) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((n) => n * power >= rough * 0.999) * power;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-6; at += 1) found.push(at * step);
  return found;
}
const tickText = (value) => {
  const size = Math.abs(value);
  if (size >= 1e12) return number(value / 1e12).replace(/\.?0+$/, '') + 'T';
  if (size >= 1e9) return number(value / 1e9).replace(/\.?0+$/, '') + 'G';
  if (size >= 1e6) return number(value / 1e6).replace(/\.?0+$/, '') + 'M';
  if (size >= 1e4) return number(value / 1e3).replace(/\.?0+$/, '') + 'k';
  return String(Number(value.toPrecision(6)));
};

// spec: {title, height, x, y: {label, log, from, to, ticks, text}, series, bands, boxes, lines, why, linked, readout}
// series: {name, points: [[x, y, label]], draw: 'line'|'steps'|'dots'|'both'|'area', colour, dash, shape, hollow, hidden, sub}
class Chart {
  constructor(spec) {
    this.spec = spec;
    this.off = new Set(spec.series.filter((series) => series.hidden));
    this.zoom = null;
    this.at = null;
    this.legend = el('div', { class: 'legend', role: 'group', 'aria-label': 'Series of ' + spec.title });
    this.frame = el('div', { class: 'plot', tabindex: 0, role: 'group', 'aria-roledescription': 'plot', 'aria-label': spec.title + (spec.linked ? '. Arrow keys move the readout, plus and minus zoom, 0 resets.' : '. Arrow keys move the readout.') });
    this.live = el('span', { class: 'hidden', 'aria-live': 'polite' });
    this.element = el('figure', { class: 'chart', 'data-chart': spec.title }, el('figcaption', {}, spec.title, spec.caption && el('span', { class: 'quiet' }, ' ' + spec.caption)), this.legend, this.frame, this.live, spec.table || this.table());
    this.keys();
    for (const series of spec.series) this.legend.append(this.toggle(series));
    if (spec.series.length < 2 && !spec.alwaysLegend) this.legend.hidden = true;
    this.pointer();
    charts.add(this);
  }
  table() {
    const { spec } = this;
    const rows = () => spec.series.flatMap((series) => series.points.filter((point) => point[1] !== null).map((point) => [series.name, point[2] || spec.x.text?.(point[0]) || point[0], point[1]]));
    return numbers(['series', spec.x.label, spec.y.label], rows);
  }
  toggle(series) {
    const swatch = svg('svg', { width: 22, height: 10, 'aria-hidden': true });
    const colour = 'c' + (series.colour % COLOURS);
    if (series.draw !== 'dots') swatch.append(svg('line', { x1: 0, x2: 22, y1: 5, y2: 5, class: 'line ' + colour, 'stroke-dasharray': series.dash }));
    if (series.draw === 'area') swatch.append(svg('rect', { x: 0, y: 1, width: 22, height: 8, class: 'area ' + colour }));
    if (series.shape) swatch.append(mark(series.shape, 11, 5, 3.5, { class: 'dot ' + colour + (series.hollow ? ' hollow' : '') }));
    const button = el('button', { type: 'button', class: 'series', 'aria-pressed': !this.off.has(series) }, swatch, ' ', series.name);
    button.addEventListener('click', () => {
      if (this.off.has(series)) this.off.delete(series);
      else this.off.add(series);
      button.setAttribute('aria-pressed', String(!this.off.has(series)));
      this.draw();
    });
    button.setAttribute('aria-pressed', String(!this.off.has(series)));
    return button;
  }
  shown() {
    return this.spec.series.filter((series) => !this.off.has(series));
  }
  range(axis, index) {
    const { spec } = this;
    const given = spec[axis];
    const values = this.shown().flatMap((series) => series.points.map((point) => point[index])).filter((value) => value !== null && Number.isFinite(value) && (!given.log || value > 0));
    values.push(...(given.include || []));
    let low = given.from ?? Math.min(...values), high = given.to ?? Math.max(...values);
    if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = given.log ? [1, 10] : [0, 1];
    if (given.log) {
      const spread = Math.max(high / low, 1.3);
      return [low / spread ** 0.06, high * spread ** 0.06];
    }
    if (low === high) high = low + (low === 0 ? 1 : Math.abs(low) * 0.2);
    return [given.from === undefined ? low - (high - low) * 0.05 : low, given.to === undefined ? high + (high - low) * 0.06 : high];
  }
  draw(width) {
    const { spec } = this;
    this.width = width || this.frame.clientWidth || this.width || 640;
    const height = spec.height || 240;
    const narrow = this.width < 480;
    const pad = { left: narrow ? 46 : 58, right: spec.right?.(this.width) ?? 14, top: 8, bottom: spec.bare ? 22 : 38 };
    const [x0, x1] = this.zoom || this.range('x', 0), [y0, y1] = this.range('y', 1);
    const scale = (low, high, from, to, log) => (log ? (value) => from + ((Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low))) * (to - from) : (value) => from + ((value - low) / (high - low)) * (to - from));
    const right = this.width - pad.right, bottom = height - pad.bottom;
    const x = scale(x0, x1, pad.left, right, spec.x.log), y = scale(y0, y1, bottom, pad.top, spec.y.log);
    Object.assign(this, { x, y, pad, right, bottom, range0: [x0, x1], top: pad.top, named: [] });
    const clip = 'clip' + [...charts].indexOf(this);
    const root = svg('svg', { width: this.width, height, role: 'img', 'aria-label': spec.title });
    root.append(svg('clipPath', { id: clip }, svg('rect', { x: pad.left, y: 0, width: Math.max(0, right - pad.left), height: bottom })));
    const inside = svg('g', { 'clip-path': `url(#${clip})` });

    for (const band of spec.bands || []) {
      const left = x(Math.max(band.from, x0)), end = x(Math.min(band.to, x1));
      if (end < left) continue;
      inside.append(svg('rect', { x: left, width: Math.max(1, end - left), y: band.strip ? 0 : pad.top, height: band.strip ? pad.top - 1 : bottom - pad.top, class: 'band ' + band.class }, svg('title', {}, band.name)));
      if (band.label && end - left > 7 * band.label.length) root.append(svg('text', { x: (left + end) / 2, y: pad.top + 11, class: 'note', 'text-anchor': 'middle' }, band.label));
    }
    for (const box of spec.boxes || []) {
      const left = x(Math.max(box.x0 ?? x0, x0)), end = x(Math.min(box.x1 ?? x1, x1)), high = y(Math.min(box.y1 ?? y1, y1)), low = y(Math.max(box.y0 ?? y0, y0));
      if (end > left && low > high) inside.append(svg('rect', { x: left, width: end - left, y: high, height: low - high, class: 'objective' }, svg('title', {}, box.name)));
      if (end > left && low > high) root.append(svg('text', { x: end - 4, y: low - 5, class: 'note', 'text-anchor': 'end' }, box.name));
    }
    const axes = svg('g', { class: 'axes', 'aria-hidden': true });
    const xs = spec.x.ticks || ticks(x0, x1, (right - pad.left) / 80, spec.x.log);
    let last = -Infinity;
    for (const tick of xs) {
      const at = x(tick);
      if (at < pad.left - 1 || at > right + 1) continue;
      axes.append(svg('line', { x1: at, x2: at, y1: pad.top, y2: bottom, class: 'grid' }));
      const text = spec.x.tickText?.(tick) || tickText(tick);
      if (at - last < 7 * text.length) continue;
      last = at + 3 * text.length;
      axes.append(svg('text', { x: at, y: bottom + 15, 'text-anchor': 'middle' }, text));
    }
    for (const tick of ticks(y0, y1, (bottom - pad.top) / 44, spec.y.log)) {
      axes.append(svg('line', { x1: pad.left, x2: right, y1: y(tick), y2: y(tick), class: 'grid' }));
      axes.append(svg('text', { x: pad.left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, tickText(tick)));
    }
    axes.append(svg('line', { x1: pad.left, x2: right, y1: bottom, y2: bottom, class: 'axis' }));
    if (!spec.bare) axes.append(svg('text', { x: (pad.left + right) / 2, y: height - 6, 'text-anchor': 'middle', class: 'name' }, spec.x.label));
    for (const line of spec.lines || []) {
      inside.append(svg('path', { d: this.path(line.points, 'line'), class: 'rule ' + (line.class || '') }));
      const [lx, ly] = line.points[line.labelAt ?? 0];
      root.append(svg('text', { x: Math.max(pad.left + 4, x(lx) + (line.dx ?? 4)), y: y(ly) + (line.dy ?? -5), class: 'note', 'text-anchor': line.anchor || 'start' }, line.name));
    }
    for (const series of this.shown()) inside.append(this.one(series));
    root.append(axes, inside);
    spec.decorate?.(this, root);
    this.cursor = svg('line', { class: 'cursor', y1: pad.top, y2: bottom, visibility: 'hidden' });
    root.append(this.cursor);
    this.root = root;
    this.frame.replaceChildren(el('p', { class: 'unit' }, spec.y.label), root);
    if (this.at !== null) this.point(this.at, false);
  }
  path(points, how) {
    const { x, y, spec } = this;
    let d = '', broken = true, before = 0;
    for (const [px, py] of points) {
      if (py === null || py === undefined || (spec.y.log && py <= 0) || (spec.x.log && px <= 0)) {
        broken = true;
        continue;
      }
      const at = `${x(px).toFixed(1)},${y(py).toFixed(1)}`;
      d += broken ? 'M' + at : how === 'steps' ? `L${x(px).toFixed(1)},${before}L${at}` : 'L' + at;
      before = y(py).toFixed(1);
      broken = false;
    }
    return d;
  }
  one(series) {
    const colour = 'c' + (series.colour % COLOURS);
    const known = series.points.filter((point) => point[1] !== null && point[1] !== undefined);
    const group = svg('g', { class: 'data', 'data-series': series.name, 'data-n': known.length });
    if (series.draw === 'area') {
      const upper = known.map((point) => [point[0], point[1]]), lower = known.map((point) => [point[0], point[3] || 0]).reverse();
      group.append(svg('path', { d: this.path([...upper, ...lower], 'line') + 'Z', class: 'area ' + colour }));
    }
    if (series.draw !== 'dots') group.append(svg('path', { d: this.path(series.points, series.draw), class: 'line ' + colour, 'stroke-dasharray': series.dash }));
    const single = known.length === 1 && series.draw !== 'area';
    if (series.draw === 'dots' || series.draw === 'both' || single) {
      for (const point of known) {
        if (this.spec.y.log && point[1] <= 0) continue;
        const hollow = series.hollow || point[4] === 'hollow';
        group.append(mark(series.shape || 'circle', this.x(point[0]), this.y(point[1]), series.size?.(point) ?? 4, { class: 'dot ' + colour + (hollow ? ' hollow' : '') }));
        if (series.labels && point[2]) group.append(this.name(point));
      }
    }
    return group;
  }
  // A point's name, where no other name stands.
  name(point) {
    const x = this.x(point[0]), y = this.y(point[1]), wide = 7 * point[2].length;
    const places = [[x + 8, y - 6], [x + 8, y + 14], [x - wide - 6, y + 14], [x - wide - 6, y - 6], [x + 8, y + 28], [x + 8, y - 20]];
    const free = ([left, base]) => left > this.pad.left && left + wide < this.width && base < this.bottom && base > 8 && !this.named.some(([l, b, w]) => left < l + w && l < left + wide && Math.abs(b - base) < 13);
    const [left, base] = places.find(free) || places[0];
    // The readout tells what there is no room for.
    if (left + wide > this.width) return svg('g', {});
    this.named.push([left, base, wide]);
    return svg('text', { x: left, y: base, class: 'mark' }, point[2]);
  }
  // The place on the x axis of what lies nearest, by both axes where points are scattered.
  nearest(px, py) {
    const scattered = this.shown().every((series) => series.draw === 'dots' || series.draw === 'both');
    let best = null, least = Infinity;
    for (const series of this.shown()) {
      for (const point of series.points) {
        if (point[1] === null || point[1] === undefined) continue;
        const dx = this.x(point[0]) - px, dy = scattered && py !== undefined ? this.y(point[1]) - py : 0;
        const distance = dx * dx + dy * dy;
        if (distance < least) [best, least] = [{ x: point[0], series, point }, distance];
      }
    }
    return best && { ...best, scattered };
  }
  point(valueX, tell, hit, clientX, clientY) {
    this.at = valueX;
    const at = this.x(valueX);
    this.cursor.setAttribute('x1', at);
    this.cursor.setAttribute('x2', at);
    this.cursor.setAttribute('visibility', at < this.pad.left - 1 || at > this.right + 1 ? 'hidden' : 'visible');
    if (!tell) return;
    const { spec } = this;
    const lines = [];
    const shownX = spec.x.text?.(valueX) || tickText(valueX) + (spec.x.unit ? ' ' + spec.x.unit : '');
    if (hit?.scattered) {
      const same = this.shown().flatMap((series) => series.points.filter((point) => point[0] === hit.point[0] && (point === hit.point || series.draw !== 'dots')).map((point) => [series, point]));
      for (const [series, point] of same) lines.push(el('p', {}, el('b', {}, series.name), ' ', point[2] ? point[2] + ': ' : '', number(point[1]), ' ', spec.y.unit || '', point[5] ? el('span', { class: 'quiet' }, ' ' + point[5]) : ''));
      lines.unshift(el('p', { class: 'quiet' }, spec.x.label + ' ' + shownX));
    } else {
      lines.push(el('p', { class: 'quiet' }, shownX));
      for (const series of this.shown()) {
        const found = this.valueAt(series, valueX);
        lines.push(el('p', {}, el('b', {}, series.name), ' ', found === null ? 'not observed' : number(found) + ' ' + (spec.y.unit || '')));
      }
      for (const band of spec.bands || []) if (band.tell && valueX >= band.from && valueX <= band.to) lines.push(el('p', {}, band.name));
    }
    const box = this.root.getBoundingClientRect();
    showTip(this.frame, lines, clientX ?? box.left + at, clientY ?? box.top + 20);
    this.live.textContent = lines.map((line) => line.textContent).join('; ');
  }
  valueAt(series, valueX) {
    let low = 0, high = series.points.length - 1;
    if (high < 0) return null;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (series.points[middle][0] <= valueX) low = middle;
      else high = middle - 1;
    }
    const next = series.points[Math.min(low + 1, series.points.length - 1)];
    const found = series.draw !== 'steps' && Math.abs(next[0] - valueX) < Math.abs(series.points[low][0] - valueX) ? next : series.points[low];
    return found[6] ?? found[1] ?? null;
  }
  pointer() {
    this.frame.addEventListener('pointermove', (event) => {
      if (!this.root) return;
      const box = this.root.getBoundingClientRect();
      const hit = this.nearest(event.clientX - box.left, event.clientY - box.top);
      if (!hit) return;
      this.point(hit.x, true, hit, event.clientX, event.clientY);
      this.spec.linked?.follow(this, hit.x);
    });
    this.frame.addEventListener('pointerleave', () => this.leave());
    this.frame.addEventListener('blur', () => this.leave());
  }
  leave() {
    hideTip();
    this.at = null;
    this.cursor?.setAttribute('visibility', 'hidden');
    this.spec.linked?.follow(this, null);
  }
  keys() {
    this.frame.addEventListener('keydown', (event) => {
      const all = [...new Set(this.shown().flatMap((series) => series.points.filter((point) => point[1] !== null).map((point) => point[0])))].sort((a, b) => a - b);
      const inside = all.filter((value) => value >= this.range0[0] && value <= this.range0[1]);
      if (!inside.length) return;
      const now = this.at === null ? -1 : inside.findIndex((value) => value >= this.at);
      const step = Math.max(1, Math.round(inside.length / 100));
      const moves = { ArrowRight: now + step, ArrowLeft: now < 0 ? inside.length - 1 : now - step, Home: 0, End: inside.length - 1 };
      if (event.key in moves) {
        const to = inside[Math.max(0, Math.min(inside.length - 1, moves[event.key]))];
        const hit = this.nearest(this.x(to));
        this.point(to, true, hit && { ...hit, point: hit.point });
        this.spec.linked?.follow(this, to);
      } else if (!this.spec.linked?.key(event.key, this.at)) return;
      event.preventDefault();
    });
  }
}

function redraw(width) {
  for (const chart of charts) if (chart.element.isConnected) chart.draw(width && Math.min(width, chart.frame.clientWidth || width));
}
let resizing = 0;
addEventListener('resize', () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => redraw());
});
