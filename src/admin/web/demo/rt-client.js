// A Socket.IO 5 client over Engine.IO 4 in one file: what the demo page needs of socket.io-client, short enough to be read.
//
// Over WebSocket or long-polling (changing between them is a reconnection), acknowledgements with a deadline, reconnection with
// backoff, connection state recovery. Namespace "/"; JSON out, JSON and binary in.
//
//     const rt = new Client('/socket.io/');
//     rt.on('chat', (message) => ..);
//     rt.onstate = (state, detail) => ..;
//     rt.start();
//     const [answer] = await rt.call('chat', ['lobby', { text: 'hi' }]);
//
// States: stopped | connecting | online {recovered, replayed} | waiting {delay, reason} | cut {delay}.

const SEPARATOR = '\x1e'; // between the packets of one HTTP body
const BATCH = 16; // packets of one POST
const OPEN_WITHIN = 10_000;
const DELAY_FIRST = 400;
const DELAY_MAX = 5000;

// A call without an answer. `maybe`: the broker may have got it all the same.
export class CallError extends Error {
  constructor(message, maybe) {
    super(message);
    this.maybe = maybe;
  }
}

class WebSocketTransport {
  constructor(url, onpacket, onclose) {
    const target = new URL(url);
    target.protocol = target.protocol.replace('http', 'ws');
    target.search = 'EIO=4&transport=websocket';
    this.socket = new WebSocket(target);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onmessage = (event) => onpacket(event.data);
    this.socket.onclose = () => onclose();
  }

  send(packet) {
    this.socket.send(packet);
  }

  close(last = []) {
    const { socket } = this;
    for (const packet of last) socket.send(packet);
    socket.onmessage = socket.onclose = null;
    // Browsers call it an error to close what is not open yet.
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket.close();
  }
}

// One GET is always held by the broker until it has something; one POST at a time, so that packets keep their order.
class PollingTransport {
  constructor(url, onpacket, onclose) {
    Object.assign(this, { onpacket, onclose, queue: [], posting: false, abort: new AbortController() });
    this.url = new URL(url);
    this.url.search = 'EIO=4&transport=polling';
    this.poll();
  }

  async request(options) {
    const response = await fetch(this.url, { cache: 'no-store', signal: this.abort.signal, ...options });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response.text();
  }

  async poll() {
    try {
      for (;;) {
        const body = await this.request();
        for (const packet of body.split(SEPARATOR)) {
          if (packet[0] === '0') this.url.searchParams.set('sid', JSON.parse(packet.slice(1)).sid);
          if (!this.abort.signal.aborted) this.onpacket(packet[0] === 'b' ? fromBase64(packet.slice(1)) : packet);
        }
      }
    } catch {
      this.fail();
    }
  }

  async post() {
    this.posting = true;
    try {
      while (this.queue.length > 0) await this.request({ method: 'POST', body: this.queue.splice(0, BATCH).join(SEPARATOR) });
    } catch {
      this.fail();
    }
    this.posting = false;
  }

  send(packet) {
    this.queue.push(packet);
    if (!this.posting) this.post();
  }

  fail() {
    if (this.abort.signal.aborted) return;
    this.close();
    this.onclose();
  }

  // Last packets make it even when the page is going away.
  close(last = []) {
    this.abort.abort();
    if (last.length > 0) fetch(this.url, { method: 'POST', keepalive: true, body: last.join(SEPARATOR) }).catch(() => {});
  }
}

const TRANSPORTS = { websocket: WebSocketTransport, polling: PollingTransport };

const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;

// Puts binary attachments where their placeholders are.
function fill(value, parts) {
  if (Array.isArray(value)) return value.map((item) => fill(item, parts));
  if (value === null || typeof value !== 'object') return value;
  if (value._placeholder === true) return parts[value.num];
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, parts)]));
}

export class Client {
  constructor(url, transport = 'websocket') {
    this.url = new URL(url, document.baseURI);
    this.kind = transport;
    this.state = 'stopped';
    this.onstate = () => {};
    this.handlers = new Map();
    this.calls = new Map(); // id -> what waits for the answer
    this.nextId = 0;
    this.attempt = 0;
    this.early = []; // events that came before the reply to CONNECT: replayed ones
    addEventListener('online', () => this.state === 'waiting' && this.open());
  }

  on(event, fn) {
    this.handlers.set(event, fn);
  }

  start() {
    if (this.state === 'stopped') this.open();
  }

  // With a goodbye, and perhaps a last event: the session ends.
  stop(...event) {
    const last = event.length > 0 ? [`42${JSON.stringify(event)}`, '41'] : ['41'];
    this.drop('stopped', this.state === 'online' ? last : []);
    this.pid = null;
    this.set('stopped');
  }

  // Without one: what comes is not seen any more, and nothing goes out for `ms`. The broker keeps our place meanwhile.
  cut(ms) {
    this.drop('the connection was cut');
    this.timer = setTimeout(() => this.open(), ms);
    this.set('cut', { delay: ms });
  }

  // At once, over this transport.
  reconnect(kind = this.kind) {
    this.kind = kind;
    this.drop('reconnecting');
    this.open();
  }

  // Resolves to the arguments of the acknowledgement.
  call(event, args, timeout = 8000) {
    if (this.state !== 'online') return Promise.reject(new CallError('not connected', false));
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.settle(id)?.reject(new CallError('no answer in time', true)), timeout);
      this.calls.set(id, { resolve, reject, timer });
      this.transport.send(`42${id}${JSON.stringify([event, ...args])}`);
    });
  }

  settle(id) {
    const call = this.calls.get(id);
    this.calls.delete(id);
    clearTimeout(call?.timer);
    return call;
  }

  set(state, detail = {}) {
    this.state = state;
    this.onstate(state, detail);
  }

  open() {
    clearTimeout(this.timer);
    this.set('connecting');
    const mine = (this.transport = new TRANSPORTS[this.kind](
      this.url,
      (packet) => this.transport === mine && this.receive(packet),
      () => this.transport === mine && this.lost('the connection was lost'),
    ));
    this.watch(OPEN_WITHIN);
  }

  // The broker pings; one that does not is gone.
  watch(ms = this.patience) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.lost('the broker is silent'), ms);
  }

  drop(reason, last) {
    clearTimeout(this.timer);
    this.transport?.close(last);
    this.transport = null;
    this.partial = null;
    this.early = [];
    for (const id of [...this.calls.keys()]) this.settle(id).reject(new CallError(reason, true));
  }

  lost(reason) {
    this.drop(reason);
    const delay = Math.min(DELAY_MAX, DELAY_FIRST * 2 ** this.attempt++) * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => this.open(), delay);
    this.set('waiting', { delay, reason });
  }

  receive(packet) {
    try {
      if (typeof packet !== 'string') this.attach(packet);
      else if (packet[0] === '0') this.greet(JSON.parse(packet.slice(1)));
      else if (packet[0] === '1') this.lost('the broker closed the connection');
      else if (packet[0] === '2') this.pong(packet.slice(1));
      else if (packet[0] === '4') this.parse(packet.slice(1));
    } catch (error) {
      console.error(error);
      this.lost('the broker sent what this page does not understand');
    }
  }

  greet({ pingInterval, pingTimeout }) {
    this.patience = pingInterval + pingTimeout;
    this.watch();
    this.transport.send(`40${JSON.stringify(this.pid ? { pid: this.pid, offset: this.offset } : {})}`);
  }

  pong(text) {
    this.watch();
    this.transport.send(`3${text}`);
  }

  // TYPE [ATTACHMENTS-] [/NAMESPACE,] [ID] [JSON]
  parse(text) {
    const [head, type, count, namespace, id] = /^(\d)(?:(\d+)-)?(?:(\/[^,]*),?)?(\d+)?/.exec(text);
    if (namespace && namespace !== '/') return;
    const json = text.slice(head.length);
    const packet = { type: Number(type), id, data: json ? JSON.parse(json) : undefined };
    if (Number(count) > 0) this.partial = { packet, count: Number(count), parts: [] };
    else this.handle(packet);
  }

  attach(bytes) {
    const { packet, count, parts } = this.partial;
    if (parts.push(bytes) < count) return;
    this.partial = null;
    this.handle({ ...packet, type: packet.type - 3, data: fill(packet.data, parts) });
  }

  handle({ type, id, data }) {
    if (type === 0) this.welcome(data);
    else if (type === 1) this.refused('the broker ended the session');
    else if (type === 2) this.event(data, id);
    else if (type === 3) this.settle(Number(id))?.resolve(data);
    else if (type === 4) this.refused(data.message);
  }

  refused(reason) {
    this.pid = null;
    this.lost(reason);
  }

  // The same secret id again: the session goes on, and all that we missed has come just before this.
  welcome({ sid, pid }) {
    const recovered = Boolean(this.pid) && pid === this.pid;
    const replayed = this.early;
    Object.assign(this, { sid, pid, early: [], attempt: 0 });
    if (!recovered) this.offset = undefined;
    this.set('online', { recovered, replayed });
    for (const args of replayed) this.dispatch(args, true);
  }

  event(args, id) {
    // Where we stand, to be shown when we come back.
    if (this.pid && id === undefined && typeof args.at(-1) === 'string') this.offset = args.pop();
    if (this.state === 'connecting') this.early.push(args);
    else this.dispatch(args, false);
    if (id !== undefined) this.transport?.send(`43${id}[]`);
  }

  dispatch([event, ...args], replayed) {
    this.handlers.get(event)?.(args, replayed);
  }
}
