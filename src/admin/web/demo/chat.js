// The demo chat: joins a room, shows its history and what is written, and says what the connection does.
import { Client } from './rt-client.js';
import { Outbox } from './outbox.js';
import { Presence } from './presence.js';
import { showCode } from './snippets.js';
import * as view from './view.js';

const CUT = 8000; // ms
const FIRST_PAGE = 50; // messages of history when one comes in
const RELOAD = 100; // and when a session could not be recovered
const RECENT = 10_000; // ms: a message of the history that may come live as well
const MEASURE = 5000; // ms between round trips
const EVENTS = ['chat', 'message']; // what is shown; a publish without an event is "message"
const LABELS = { websocket: 'WebSocket', polling: 'Long-polling' };
const NAMES = [['Quiet', 'Brave', 'Amber', 'Swift', 'Gentle', 'Lunar', 'Merry', 'Clever'], ['Otter', 'Heron', 'Lynx', 'Finch', 'Badger', 'Marten', 'Wren', 'Hare']];

const byId = (id) => document.getElementById(id);
const badge = byId('badge');
const text = byId('text');
const cutButton = byId('cut');
const outcome = byId('outcome');
const people = byId('people');

const random = (length) => Array.from(crypto.getRandomValues(new Uint8Array(length)), (b) => (b % 36).toString(36)).join('');
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

// For this tab, over reloads: own messages are known by the beginning of their id.
function remembered(key, make) {
  let value = sessionStorage.getItem(key);
  if (!value) sessionStorage.setItem(key, (value = make()));
  return value;
}

const query = new URLSearchParams(location.search);
const author = remembered('author', () => random(8));
let name = (query.get('name') ?? '').trim().slice(0, 40) || remembered('name', () => NAMES.map(pick).join(' '));
sessionStorage.setItem('name', name);
let room = query.get('room') || 'chat:lobby';

let entered = null; // the room whose history is shown
let entering = 0; // counts, so that an entry that has been overtaken stops
let buffer = null; // live messages while the history is on its way
let seen = new Set(); // ids that are shown
let unsure = new Map(); // messages of the history without an id that may come live, too
let epoch = null; // of the room's log
let cutAt = 0; // when we were last online before a loss
let connections = null; // in this room, says the broker

const rt = new Client('socket.io/');
const presence = new Presence(random(8), (state) => rt.call('here', [room, sign(state)]).catch(() => {}), showPeople);
const sign = (state) => ({ id: presence.id, name, state });

// ---- messages --------------------------------------------------------------------------------------------------

// What is shown of a payload, ours or anybody's.
function read(data, time) {
  const object = data !== null && typeof data === 'object' && !Array.isArray(data) ? data : {};
  const plain = typeof data === 'string' ? data : object.text;
  const id = typeof object.id === 'string' ? object.id : undefined;
  const mine = id?.startsWith(`${author}.`) ?? false;
  const given = typeof object.name === 'string' && object.name.trim() ? object.name.trim().slice(0, 40) : 'Unnamed';
  const readable = data instanceof ArrayBuffer ? `${plural(data.byteLength, 'byte')} of binary data` : JSON.stringify(data);
  return {
    id,
    mine,
    name: given,
    author: mine ? author : `name ${given}`,
    text: typeof plain === 'string' ? plain : readable,
    code: typeof plain !== 'string',
    time: Date.parse(object.time) || time,
    key: id ?? JSON.stringify(data),
  };
}

function hear(args, replayed) {
  const message = read(args.length === 1 ? args[0] : args, Date.now());
  if (buffer) buffer.push(message);
  else live(message, replayed);
}

// Has it been shown already? The history and the live stream overlap, and so do repetitions.
function known(message) {
  if (message.id) return seen.has(message.id);
  const count = unsure.get(message.key) ?? 0;
  unsure.set(message.key, Math.max(0, count - 1));
  return count > 0;
}

function live(message, replayed) {
  if (known(message)) return;
  if (message.id) seen.add(message.id);
  const entry = message.id && outbox.find(message.id);
  if (entry) settle(entry, message);
  else view.show(message, { replayed });
}

// One's own has come back: it takes its place in the order. The answer with its position may come before or after.
function settle(entry, message) {
  entry.settled = true;
  view.settle(entry.item, message);
  if (entry.state === 'stored') outbox.remove(entry);
}

const positionOf = ({ epoch: at, offset }) => (offset === undefined ? '' : `${at}:${offset}`);

function stored(item, position) {
  view.setState(item, 'ok', position ? `Stored at ${position}` : 'Delivered');
}

// ---- one's own, until they are stored --------------------------------------------------------------------------

const outbox = new Outbox(
  async (entry) => (await rt.call('chat', [entry.room, { id: entry.id, name: entry.name, text: entry.text }]))[0],
  showEntry,
);

function showEntry(entry) {
  const { item, state, detail = {} } = entry;
  const soon = `again in ${(detail.delay / 1000).toFixed(1)} s`;
  const choice = [
    ['Send again', () => outbox.again(entry)],
    ['Discard', () => discard(entry)],
  ];
  if (state === 'waiting') view.setState(item, 'wait', rt.state === 'online' ? 'In line' : 'Waits for the connection');
  else if (state === 'sending') view.setState(item, 'wait', 'Sending');
  else if (state === 'retry') view.setState(item, 'bad', `Not stored (${detail.message}), ${soon}`);
  else if (state === 'unknown') view.setState(item, 'bad', `Perhaps stored (${detail.message}), ${soon} with the same key`);
  else if (state === 'refused') view.setState(item, 'bad', `Refused: ${detail.message}`, choice);
  else if (state === 'stuck') view.setState(item, 'bad', `${detail.error === 'retry' ? 'Not stored' : 'Perhaps stored'}: ${detail.message}`, choice);
  else if (state === 'stored') showStored(entry);
}

function showStored(entry) {
  const position = positionOf(entry.detail);
  stored(entry.item, position);
  byId('position').textContent = position || 'not logged';
  if (entry.settled) outbox.remove(entry);
  else if (entry.room !== room) discard(entry); // nobody shows us that it has come
}

function discard(entry) {
  outbox.remove(entry);
  view.remove(entry.item);
}

function write(words) {
  const entry = { id: `${author}.${random(16)}`, room, name, text: words };
  entry.item = view.pending({ ...entry, author, mine: true, time: Date.now() });
  outbox.add(entry);
}

// ---- the room --------------------------------------------------------------------------------------------------

async function api(method, body) {
  const response = await fetch(`api/${method}`, { method: 'POST', body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer.result;
}

function showHistory({ publications, epoch: at }) {
  view.clear();
  seen = new Set();
  unsure = new Map();
  for (const { data, time, offset, tags } of publications.reverse()) {
    if (!EVENTS.includes(tags?.event ?? 'message')) continue;
    const message = read(data, time);
    if (message.id && seen.has(message.id)) continue;
    if (message.id) seen.add(message.id);
    else if (Date.now() - time < RECENT) unsure.set(message.key, (unsure.get(message.key) ?? 0) + 1);
    const entry = message.id && outbox.find(message.id);
    if (entry) {
      settle(entry, message);
      outbox.set(entry, 'stored', { epoch: at, offset });
    } else {
      const item = view.show(message);
      if (message.mine) stored(item, positionOf({ epoch: at, offset }));
    }
  }
}

// Joins first, then reads: nothing can fall between, and what is in both is known by its id.
async function enter() {
  const turn = ++entering;
  const again = entered === room;
  entered = null;
  buffer = [];
  view.busy(true);
  try {
    await rt.call('join', [room]);
    if (turn !== entering) return;
    buffer = []; // what came before is in the history, or of another room
    const history = await api('history', { channel: room, reverse: true, limit: again ? RELOAD : FIRST_PAGE });
    if (turn !== entering) return;
    const anew = again && epoch !== history.epoch;
    epoch = history.epoch;
    showHistory(history);
    if (again) reloaded(anew);
    entered = room;
  } catch (error) {
    if (turn !== entering || rt.state !== 'online') return;
    view.note(`No history: ${error.message}`, 'bad');
    entered = room;
  }
  const waiting = buffer;
  buffer = null;
  for (const message of waiting) live(message, false);
  view.busy(false);
  presence.enter();
  outbox.setOnline(rt.state === 'online');
  count();
}

function reloaded(anew) {
  const why = anew ? 'The broker has a new log, the old one is gone' : 'The session was gone';
  tell(`${why}: history loaded anew.`, 'bad');
}

function say(words, kind = '') {
  outcome.textContent = words;
  outcome.className = `hint ${kind}`;
}

function tell(words, kind) {
  say(words, kind);
  view.note(words, kind);
}

function change(newName, newRoom) {
  const moved = newRoom !== room;
  if (moved) presence.tell('bye');
  name = newName;
  room = newRoom;
  for (const entry of [...outbox.entries]) {
    entry.item.hidden = entry.room !== room;
    if (entry.item.hidden && entry.state === 'stored') discard(entry);
  }
  sessionStorage.setItem('name', name);
  showRoom();
  if (!moved) presence.tell('here');
  else if (rt.state === 'online') enter();
  else view.clear();
}

function showRoom() {
  byId('title').textContent = room;
  byId('name').value = name;
  byId('room').value = room;
  document.title = `${room} · rtbroker demo chat`;
  const address = `?room=${encodeURIComponent(room)}`;
  byId('second').href = address;
  history.replaceState(null, '', address);
  showCode({ origin: location.origin, room, name });
  showPeople();
}

// ---- who is here -----------------------------------------------------------------------------------------------

function showPeople() {
  const others = presence.list();
  const rows = [{ name, own: true, silent: rt.state !== 'online' }, ...others];
  people.replaceChildren(
    ...rows.map((person) => {
      const row = view.element('li', person.silent ? 'silent' : '');
      row.append(view.element('span', `face ${view.colourOf(person.name)}`, [...person.name][0].toUpperCase()), person.name);
      row.firstChild.setAttribute('aria-hidden', true);
      if (person.own) row.append(view.element('i', '', 'you'));
      else if (person.silent) row.append(view.element('i', '', 'silent'));
      return row;
    }),
  );
  const present = rows.filter((person) => !person.silent).length;
  byId('count').textContent = rt.state === 'online' && connections !== null ? counted(connections, present) : 'Not known while offline.';
}

function counted(all, named) {
  const total = `${plural(all, 'connection')} in this room, says the broker`;
  if (all > named) return `${total}: ${all - named} without a name, such as rtbroker sub.`;
  if (all < named) return `${total}: ${plural(named - all, 'name')} above lost theirs just now.`;
  return `${total}.`;
}

// The count is asked for again when it may have changed, or is at odds with the names.
let soon;
function hearOf(who) {
  if (!presence.hear(who) && connections === presence.people.size + 1) return;
  clearTimeout(soon);
  soon = setTimeout(count, 300);
}

async function count() {
  if (rt.state !== 'online' || document.hidden) return;
  try {
    const { channels } = await api('channels', { pattern: room });
    connections = channels[room]?.num_clients ?? 0;
  } catch {
    connections = null;
  }
  showPeople();
}

// ---- the connection --------------------------------------------------------------------------------------------

let until = 0;
let ticking;

// What changes every second is not read aloud: it stands beside the live region.
function showCountdown() {
  clearInterval(ticking);
  const show = () => {
    byId('extra').textContent = `back in ${Math.max(1, Math.ceil((until - performance.now()) / 1000))} s`;
  };
  ticking = setInterval(show, 250);
  show();
}

function showState(state, detail) {
  const offline = state === 'cut' || state === 'waiting';
  const words = { connecting: 'Connecting', online: 'Connected', waiting: 'Disconnected', cut: 'Cut off', stopped: 'Stopped' };
  badge.dataset.state = state;
  byId('state').textContent = words[state];
  clearInterval(ticking);
  byId('via').textContent = offline ? '' : LABELS[rt.kind];
  byId('extra').textContent = '';
  if (offline) {
    until = performance.now() + detail.delay;
    showCountdown();
  }
  byId('offline').hidden = !offline;
  if (offline) byId('offline-text').textContent = state === 'cut' ? 'Your network is cut. Write on, it waits here.' : `Offline: ${detail.reason}.`;
  if (state === 'cut') say('Cut off. Let somebody write meanwhile: in a second tab, or with curl as below.');
  cutButton.textContent = offline ? 'Reconnect now' : 'Cut my network';
  byId('rtt').textContent = '–';
  showSession(state === 'online' ? rt.sid : '', detail.recovered);
  connections = null;
  showPeople();
}

// The beginning is enough to see that it is the same as before.
function showSession(id, recovered) {
  const field = byId('sid');
  field.textContent = id ? `${id.slice(0, 8)}…${recovered ? ' kept' : ''}` : '–';
  field.title = id;
}

function back({ recovered, replayed }) {
  const away = cutAt ? ((performance.now() - cutAt) / 1000).toFixed(1) : 0;
  cutAt = 0;
  if (!recovered || entered !== room) {
    enter();
    return;
  }
  const missed = replayed.filter(([event, data]) => EVENTS.includes(event) && !read(data).mine).length;
  tell(`Recovered after ${away} s: ${missed === 0 ? 'nothing was missed' : `${plural(missed, 'missed message')} replayed`}.`, 'good');
  // Behind what is replayed now, so that the order on the page is the channel's.
  queueMicrotask(() => {
    presence.tell('here');
    outbox.setOnline(true);
    count();
  });
}

rt.onstate = (state, detail) => {
  if (state !== 'online') {
    cutAt ||= performance.now();
    outbox.setOnline(false);
  }
  showState(state, detail);
  if (state !== 'online') return;
  back(detail);
  setTimeout(measure, 500); // when what comes with a connection is through
};

// The best of three: what is slow in the others is this page, busy with something else.
async function measure() {
  if (document.hidden || rt.state !== 'online') return;
  let best = Infinity;
  try {
    for (let i = 0; i < 3; i++) {
      const start = performance.now();
      await rt.call('ping', []);
      best = Math.min(best, performance.now() - start);
    }
  } catch {
    return;
  }
  const words = `${best < 10 ? best.toFixed(1) : Math.round(best)} ms`;
  byId('rtt').textContent = words;
  byId('extra').textContent = words;
}

// ---- what people do --------------------------------------------------------------------------------------------

byId('compose').addEventListener('submit', (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (words) write(words);
  text.value = '';
  text.focus();
});

text.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId('compose').requestSubmit();
});

byId('who').addEventListener('submit', (event) => {
  event.preventDefault();
  const [newName, newRoom] = [byId('name').value.trim(), byId('room').value.trim()];
  if (newName && newRoom) change(newName, newRoom);
});

byId('transport').addEventListener('change', (event) => rt.reconnect(event.target.value));
byId('now').addEventListener('click', () => {
  rt.reconnect();
  text.focus();
});
cutButton.addEventListener('click', () => (rt.state === 'cut' || rt.state === 'waiting' ? rt.reconnect() : rt.cut(CUT)));

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  measure();
  count();
});
addEventListener('pagehide', () => rt.stop('here', room, sign('bye')));
addEventListener('pageshow', (event) => event.persisted && rt.start());
setInterval(() => {
  measure();
  count();
}, MEASURE);

for (const event of EVENTS) rt.on(event, hear);
rt.on('here', ([who]) => who && hearOf(who));
showRoom();
rt.start();
if (matchMedia('(pointer: fine)').matches) text.focus();
