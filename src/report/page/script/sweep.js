// Points of a sweep: their figures, and what no other point beats.

function sweeps(host) {
  for (const { name, sweep, objectives } of DATA.sweeps) {
    const part = section(host, `Sweep: ${name}`, 'sweep');
    const flags = [...new Set(sweep.points.flatMap((point) => Object.keys(point.settings)))];
    const words = (point) => flags.filter((flag) => flag in point.settings).map((flag) => `${flag}=${point.settings[flag]}`).join(' ');
    const failed = sweep.points.filter((point) => point.error).length;
    part.append(el('p', {}, `${sweep.points.length} points, ${failed ? failed + ' of them failed, ' : ''}${sweep.frontier.length} on the frontier${sweep.partial ? '; partial: the same command goes on' : ''}. `, el('span', { class: 'quiet' }, 'On it (●) is what no other point beats for a user and for a GPU.')));
    part.append(sweepFrontier(sweep, words, objectives));
    const figures = [['output_throughput', 'tok/s'], ['mean_ttft_ms', 'TTFT ms'], ['mean_tpot_ms', 'TPOT ms'], ['goodput_attainment_percent', '% met the objective']].filter(([key]) => sweep.points.some((point) => point.extended && point.extended[key] !== null));
    const heads = [...flags, 'whose', ...figures.slice(0, 1).map(([, title]) => title), 'tok/s per GPU', 'tok/s a user sees', ...figures.slice(1).map(([, title]) => title), 'frontier'];
    const shown = (value) => el('td', {}, value === null || value === undefined ? '–' : number(value));
    const rows = sweep.points.map((point, at) => {
      const settings = flags.map((flag, column) => el(column ? 'td' : 'th', column ? {} : { scope: 'row' }, String(point.settings[flag] ?? '')));
      if (point.error) return el('tr', {}, settings, el('td', { colspan: heads.length - flags.length, class: 'text trouble' }, 'failed: ' + point.error));
      const [rate, ...others] = figures.map(([key]) => shown(point.extended?.[key]));
      return el('tr', {}, settings, el('td', {}, kindMark(point.kind)), rate, shown(point.tokens_per_s_per_gpu), shown(point.tokens_per_s_per_user), others, el('td', {}, sweep.frontier.includes(at) ? '●' : ''));
    });
    part.append(el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Points of the sweep' }, el('table', { class: 'figures points' }, el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))), el('tbody', {}, rows))));
  }
}
function sweepFrontier(sweep, words, objectives) {
  const place = (point) => [point.tokens_per_s_per_user, point.tokens_per_s_per_gpu];
  const known = sweep.points.map((point, at) => ({ point, at })).filter(({ point }) => place(point).every((value) => value !== null));
  const met = (point) => point.extended?.goodput_attainment_percent ?? null;
  const kinds = [...new Set(known.map(({ point }) => point.kind))];
  const series = kinds.flatMap((kind, base) => [false, true].map((on) => ({
    name: `${kind}, ${on ? 'on the frontier' : 'beaten by another'}`, draw: 'dots', colour: on ? base : 4 + base, shape: MARKS[kind], labels: on,
    points: known.filter(({ point, at }) => point.kind === kind && sweep.frontier.includes(at) === on).map(({ point }) => [...place(point), words(point), 0, met(point) !== null && met(point) < 95 ? 'hollow' : null, met(point) === null ? null : `${number(met(point))} % of requests met the objective`]).sort((a, b) => a[0] - b[0]),
  }))).filter((one) => one.points.length);
  const best = sweep.frontier.map((at) => place(sweep.points[at])).filter((point) => point.every((value) => value !== null));
  const bounds = objectives.map((objective) => objective.tpot_ms).filter((ms) => ms !== null);
  const boxes = bounds.map((ms) => ({ x0: 1e3 / ms, y0: 0, name: `objective: TPOT ≤ ${exact(ms)} ms` }));
  const caption = objectives.length ? 'Hollow: fewer than 95 % of requests met the objective.' : 'No objective was given, so there is no box (--goodput).';
  return plotOr('Frontier of the sweep', series, { caption, alwaysLegend: true, boxes, lines: best.length > 1 ? [{ name: '', points: best, class: 'frontier' }] : [], height: 320, x: { label: 'tokens a second that one user sees', unit: 'tok/s', from: 0, include: bounds.map((ms) => 1.2e3 / ms) }, y: { label: 'output tokens a second of a GPU, or of the machine', unit: 'tok/s', from: 0 }, right: (width) => (width < 560 ? 20 : 120) }, 'no point has both figures');
}
