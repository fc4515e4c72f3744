// The code that is shown, with the real address, room and name in it.
import { element } from './view.js';

const tabs = document.getElementById('tabs');
const pane = document.getElementById('pane');
const code = document.getElementById('snippet');
const copy = document.getElementById('copy');

const quote = (text) => JSON.stringify(text);
const shell = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const word = (text) => (/^[\w:./@%+-]+$/.test(text) ? text : shell(text));

const SNIPPETS = {
  'socket.io-client': ({ origin, room, name }) => `import { io } from "socket.io-client"; // any 4.x, unchanged

const socket = io(${quote(origin)});
socket.on("connect", () => {
  if (!socket.recovered) socket.emit("join", ${quote(room)}); // else we are still in it
});
socket.on("chat", ({ name, text }) => console.log(name + ": " + text));

// What is emitted before there is a connection goes out before "connect": too early to be in the room.
await new Promise((connected) => socket.once("connect", connected));

// Answered once it is stored; the id makes a repetition harmless.
const answer = await socket.timeout(8000).emitWithAck("chat", ${quote(room)}, {
  id: crypto.randomUUID(),
  name: ${quote(name)},
  text: "hi",
});
console.log(answer); // { ok: true, epoch: "…", offset: 12 }`,

  'Terminal': ({ origin, room, name }) => `# watch the room
./rtbroker sub ${word(room)} --url ${origin}

# write to it
./rtbroker pub ${word(room)} ${shell(JSON.stringify({ name, text: 'hi' }))} --event chat --url ${origin}`,

  'curl': ({ origin, room }) => `# write to the room
curl ${origin}/api/publish -d ${shell(JSON.stringify({ channel: room, event: 'chat', data: { name: 'curl', text: 'hi' } }))}

# its last ten messages
curl ${origin}/api/history -d ${shell(JSON.stringify({ channel: room, limit: 10, reverse: true }))}

# everything from here on, as server-sent events
curl -N ${shell(`${origin}/api/stream?channel=${encodeURIComponent(room)}`)}`,

  'Configuration': () => `# what the broker needs for this chat: there is no server code
protocols:
  socketio:
    recovery: 2m # who was cut comes back to the room and to what was missed
channels:
  - match: "chat:*"
    log: true
socketio:
  events:
    - event: join
      do:
        - leave: {all: true}
        - join: $1
    - event: chat
      do:
        - publish:
            room: $1
            key: $2.id # sent twice by the same client, stored once
            data: {name: $2.name, text: $2.text, time: $now, id: $2.id}`,
};

const NAMES = Object.keys(SNIPPETS);
let current = 0;
let context;

// Comments stand back; no more highlighting than that.
function render() {
  const text = SNIPPETS[NAMES[current]](context);
  code.replaceChildren(
    ...text.split(/((?:^|(?<= ))(?:\/\/|#) .*$)/m).map((part, i) => (i % 2 ? element('span', 'comment', part) : part)),
  );
  pane.setAttribute('aria-labelledby', `tab-${current}`);
}

function select(index, focus) {
  current = (index + NAMES.length) % NAMES.length;
  [...tabs.children].forEach((tab, i) => {
    tab.setAttribute('aria-selected', i === current);
    tab.tabIndex = i === current ? 0 : -1;
    if (focus && i === current) tab.focus();
  });
  render();
}

NAMES.forEach((name, i) => {
  const tab = element('button', '', name);
  Object.assign(tab, { type: 'button', id: `tab-${i}` });
  tab.setAttribute('role', 'tab');
  tab.setAttribute('aria-controls', 'pane');
  tab.addEventListener('click', () => select(i));
  tabs.append(tab);
});

tabs.addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) select(current + step, true);
  else if (event.key === 'Home') select(0, true);
  else if (event.key === 'End') select(NAMES.length - 1, true);
  else return;
  event.preventDefault();
});

// The clipboard belongs to secure origins; elsewhere the text is at least selected.
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return 'Copied';
  } catch {
    getSelection().selectAllChildren(code);
    return 'Selected';
  }
}

let restore;
copy.addEventListener('click', async () => {
  copy.textContent = await toClipboard(code.textContent);
  clearTimeout(restore);
  restore = setTimeout(() => (copy.textContent = 'Copy'), 2000);
});

export function showCode(values) {
  context = values;
  select(current);
}
