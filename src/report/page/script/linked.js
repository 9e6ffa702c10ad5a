// Plots over one axis of time: they zoom together, and one readout follows the other.

class Linked {
  constructor(from, to) {
    this.whole = [from, to];
    this.charts = [];
    this.reset = el('button', { type: 'button', class: 'reset', hidden: true, onclick: () => this.zoom(null) }, 'Show the whole run');
  }
  add(spec) {
    const chart = new Chart({ ...spec, linked: this, bare: true, x: { label: 'seconds from the first arrival', unit: 's', from: this.whole[0], to: this.whole[1], text: (value) => 'at ' + number(value) + ' s', ...spec.x } });
    this.charts.push(chart);
    this.drag(chart);
    return chart.element;
  }
  follow(from, value) {
    for (const chart of this.charts) {
      if (chart === from || !chart.cursor) continue;
      if (value === null) {
        chart.at = null;
        chart.cursor.setAttribute('visibility', 'hidden');
      } else chart.point(value, false);
    }
  }
  zoom(range) {
    for (const chart of this.charts) {
      chart.zoom = range;
      chart.draw();
    }
    this.reset.hidden = range === null;
  }
  key(key, at) {
    if (key === '0') return this.zoom(null), true;
    if (key !== '+' && key !== '=' && key !== '-') return false;
    const [low, high] = this.charts[0].zoom || this.whole;
    const centre = at ?? (low + high) / 2, factor = key === '-' ? 2 : 0.5;
    const from = Math.max(this.whole[0], centre - (centre - low) * factor), to = Math.min(this.whole[1], centre + (high - centre) * factor);
    return this.zoom(to - from >= this.whole[1] - this.whole[0] ? null : [from, to]), true;
  }
  drag(chart) {
    const invert = (clientX) => {
      const box = chart.root.getBoundingClientRect(), [low, high] = chart.range0;
      const part = (clientX - box.left - chart.pad.left) / (chart.right - chart.pad.left);
      return low + Math.max(0, Math.min(1, part)) * (high - low);
    };
    let start = null, band = null;
    chart.frame.addEventListener('pointerdown', (event) => {
      if (event.pointerType === 'touch' || event.button !== 0) return;
      start = event.clientX;
      band = svg('rect', { class: 'select', y: chart.top, height: chart.bottom - chart.top });
      chart.root.append(band);
      event.preventDefault();
      chart.frame.focus({ preventScroll: true });
    });
    chart.frame.addEventListener('pointermove', (event) => {
      if (start === null) return;
      const left = chart.root.getBoundingClientRect().left;
      band.setAttribute('x', Math.min(start, event.clientX) - left);
      band.setAttribute('width', Math.abs(event.clientX - start));
    });
    addEventListener('pointerup', (event) => {
      if (start === null) return;
      const [from, to] = [invert(start), invert(event.clientX)].sort((a, b) => a - b);
      const moved = Math.abs(event.clientX - start) > 6;
      start = null;
      band.remove();
      if (moved && to > from) this.zoom([from, to]);
    });
    chart.frame.addEventListener('dblclick', () => this.zoom(null));
  }
}
