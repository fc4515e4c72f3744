// The conversation on the page: what is stored, in the channel's order, and below it what is not stored yet.
const CLOSE_BY = 80; // px from the end that still count as "at the end"
const TOGETHER = 5 * 60_000; // ms within which messages of one author stand under one name
const COLOURS = 8;

const byId = (id) => document.getElementById(id);
const scroll = byId('scroll');
const log = byId('log');
const messages = byId('messages');
const outbox = byId('outbox');
const latest = byId('latest');
const empty = byId('empty');

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

export function colourOf(name) {
  let hash = 0;
  for (const c of name) hash = (hash * 31 + c.codePointAt(0)) >>> 0;
  return `c${hash % COLOURS}`;
}

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < CLOSE_BY;

function toEnd() {
  scroll.scrollTop = scroll.scrollHeight;
  latest.hidden = true;
}
latest.addEventListener('click', () => {
  toEnd();
  scroll.focus();
});
scroll.addEventListener('scroll', () => {
  if (atEnd()) latest.hidden = true;
});
// The field grows, a keyboard comes up: who was at the end stays there.
let stick = true;
scroll.addEventListener('scroll', () => (stick = atEnd()));
new ResizeObserver(() => stick && toEnd()).observe(scroll);

// Runs `change` and follows the end when the reader is there or `always`.
function change(fn, always) {
  const follow = always || atEnd();
  fn();
  empty.hidden = messages.childElementCount + outbox.childElementCount > 0;
  if (follow) toEnd();
  else latest.hidden = false;
}

function build({ name, text, mine, code }) {
  const item = element('li', `message${mine ? ' mine' : ''}`);
  const meta = element('p', 'meta');
  meta.append(element('b', `name ${colourOf(name)}`, mine ? 'You' : name), element('time'));
  item.append(meta, element('p', `bubble${code ? ' raw' : ''}`, text), element('p', 'state'));
  return item;
}

function stamp(item, ms, author) {
  const time = item.querySelector('time');
  const date = new Date(ms);
  if (!Number.isNaN(date.getTime())) {
    time.dateTime = date.toISOString();
    time.textContent = clock.format(date);
    time.title = full.format(date);
  }
  Object.assign(item.dataset, { author, ms });
}

// Behind the last one of the list.
function append(item, list = messages) {
  const { author, ms } = item.dataset;
  const before = list.lastElementChild?.dataset;
  item.classList.toggle('same', before?.author === author && ms - before.ms < TOGETHER);
  list.append(item);
}

export function show(message, { replayed } = {}) {
  const item = build(message);
  if (replayed) item.classList.add('replayed');
  stamp(item, message.time, message.author);
  change(() => append(item));
  return item;
}

// A line between messages: `kind` is good, bad or nothing.
export function note(text, kind = '') {
  const item = element('li', `note ${kind}`);
  item.append(element('span', '', text));
  change(() => messages.append(item));
}

// One's own message before it is stored.
export function pending(message) {
  const item = build(message);
  stamp(item, message.time, message.author);
  change(() => append(item, outbox), true);
  return item;
}

// It has been: it takes its place in the order.
export function settle(item, message) {
  stamp(item, message.time, message.author);
  change(() => append(item));
}

// `kind`: wait, ok, bad. `actions`: [label, function].
export function setState(item, kind, text, actions = []) {
  const state = item.querySelector('.state');
  const follow = atEnd(); // the item may grow by it
  state.className = `state ${kind}`;
  state.replaceChildren(text);
  for (const [label, fn] of actions) {
    const button = element('button', 'quiet', label);
    button.type = 'button';
    button.addEventListener('click', fn);
    state.append(' ', button);
  }
  if (follow) toEnd();
}

export function remove(item) {
  change(() => item.remove());
}

export function clear() {
  messages.replaceChildren();
  latest.hidden = true;
}

// While history is put in, nobody wants it read aloud.
export function busy(on) {
  log.setAttribute('aria-busy', on);
  if (on) empty.hidden = true;
  else change(() => {}, true);
}
