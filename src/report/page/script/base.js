'use strict';
// Elements, numbers and the tooltip. Whatever a result says becomes text, never markup.

const DATA = JSON.parse(document.getElementById('data').textContent);
const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Four figures or so, and never fewer than the whole number: as the program's own tables.
function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e15) return value.toExponential(2);
  const exponent = Math.floor(Math.log10(Number(size.toPrecision(4))));
  return value.toFixed(Math.min(4, Math.max(0, 3 - exponent)));
}
const exact = (value) => (Number.isInteger(value) ? String(value) : number(value));
const SCALES = [['B/s', 1e9, 'GB/s'], ['bytes/s', 1e9, 'GB/s'], ['FLOP/s', 1e9, 'GFLOP/s'], ['bytes', 1048576, 'MiB']];
// A value in a unit that a reader can take in.
function scaled(value, unit) {
  const scale = typeof value === 'number' && SCALES.find(([known, least]) => known === unit && Math.abs(value) >= least / 1e3);
  return scale ? [value / scale[1], scale[2]] : [value, unit];
}
function duration(seconds) {
  if (Math.abs(seconds) < 1e-3) return number(seconds * 1e6) + ' µs';
  return Math.abs(seconds) < 1 ? number(seconds * 1e3) + ' ms' : number(seconds) + ' s';
}

const TIP = document.getElementById('tip');
let tipOwner = null, tipOffset = [0, 0];
function showTip(owner, content, x, y) {
  TIP.replaceChildren(...[content].flat());
  TIP.hidden = false;
  if (tipOwner && tipOwner !== owner) tipOwner.removeAttribute('aria-describedby');
  tipOwner = owner;
  owner.setAttribute('aria-describedby', 'tip');
  const home = owner.getBoundingClientRect();
  tipOffset = [x - home.left, y - home.top];
  placeTip(x, y);
}
function placeTip(x, y) {
  const box = TIP.getBoundingClientRect();
  const left = Math.max(8, Math.min(x + 12, innerWidth - box.width - 8));
  const below = y + 16 + box.height < innerHeight;
  TIP.style.left = left + 'px';
  TIP.style.top = Math.max(8, below ? y + 16 : y - box.height - 12) + 'px';
}
function hideTip() {
  TIP.hidden = true;
  if (tipOwner) tipOwner.removeAttribute('aria-describedby');
  tipOwner = null;
}
document.addEventListener('keydown', (event) => event.key === 'Escape' && hideTip());
// It stays with what it is of.
addEventListener('scroll', () => {
  if (!tipOwner) return;
  const home = tipOwner.getBoundingClientRect();
  if (home.bottom < 0 || home.top > innerHeight) hideTip();
  else placeTip(home.left + tipOffset[0], home.top + tipOffset[1]);
}, { passive: true });

// Words with more to say of them: on hover, on focus, on a tap.
function term(text, content, name) {
  const button = el('button', { type: 'button', class: 'term', 'data-key': name }, text);
  const show = () => {
    const box = button.getBoundingClientRect();
    showTip(button, content(), box.left, box.bottom - 8);
  };
  button.addEventListener('mouseenter', show);
  button.addEventListener('focus', show);
  button.addEventListener('click', show);
  button.addEventListener('mouseleave', hideTip);
  button.addEventListener('blur', hideTip);
  return button;
}
function definition(key) {
  const known = DATA.definitions[key];
  if (!known) return [el('p', {}, 'No definition is known.')];
  const lines = [el('p', {}, el('code', {}, key.replace('gpu.', '')), known.unit ? ' in ' + known.unit : '')];
  lines.push(el('p', {}, known.what + '.'));
  if (known.null_when !== 'never') lines.push(el('p', { class: 'quiet' }, 'Not observed when: ' + known.null_when + '.'));
  return lines;
}
const absent = (reason) => term('n/o', () => [el('p', {}, 'Not observed: ' + (reason || 'no reason is known') + '.')], null);
const missing = (reason) => el('p', { class: 'missing' }, 'Not observed: ' + (reason || 'no reason is known') + '.');
const kindMark = (kind) => el('span', { class: 'kind ' + kind }, kind);

let sections = 0;
function section(host, title, id, ...children) {
  const name = id + (sections += 1);
  const part = el('section', { class: 'part ' + id, 'aria-labelledby': name }, el('h2', { id: name }, title), ...children);
  host.append(part);
  return part;
}
const add = (host, ...children) => fill(host, {}, children);
// What a plot shows, as numbers to select and to read aloud; made when it is opened.
function numbers(heads, rows, label) {
  const details = el('details', { class: 'numbers' }, el('summary', {}, label || 'These numbers as a table'));
  details.addEventListener('toggle', () => {
    if (!details.open || details.querySelector('table')) return;
    const body = rows().map((row) => el('tr', {}, row.map((cell, at) => el(at ? 'td' : 'th', at ? {} : { scope: 'row' }, typeof cell === 'number' ? exact(cell) : cell === null ? '–' : cell))));
    const head = el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)));
    details.append(el('div', { class: 'wide', tabindex: 0 }, el('table', {}, el('thead', {}, head), el('tbody', {}, body))));
  });
  return details;
}
