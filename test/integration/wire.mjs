// Bytes on a connection: a TCP client, HTTP/1.1 responses, and WebSocket frames as they are on the wire. Nothing here repairs,
// retries or answers by itself, so a test sees exactly what the broker does.
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import net from 'node:net';

// A TCP connection. `ended`: the peer has sent FIN; `closed`: it is over in both directions (or reset).
export class Tcp {
  static async open(port, host = '127.0.0.1', options = {}) {
    const tcp = new Tcp();
    tcp.socket = net.connect({ port, host, allowHalfOpen: true, noDelay: true, ...options });
    tcp.store = Buffer.alloc(4096);
    tcp.start = tcp.end = 0; // what was received and not taken lies between them
    tcp.ended = false;
    tcp.closed = false;
    tcp.waiting = [];
    tcp.socket.on('data', (chunk) => tcp.append(chunk));
    tcp.socket.on('end', () => tcp.wake(() => (tcp.ended = true)));
    tcp.socket.on('error', (error) => tcp.wake(() => (tcp.error = error)));
    tcp.socket.on('close', () => tcp.wake(() => (tcp.ended = tcp.closed = true)));
    tcp.socket.on('connect', () => tcp.wake(() => (tcp.connected = true)));
    await tcp.until('a connection', () => {
      if (tcp.error) throw tcp.error;
      return tcp.connected;
    });
    return tcp;
  }

  append(chunk) {
    if (this.end + chunk.length > this.store.length) {
      const grown = Buffer.allocUnsafe(2 * (this.end - this.start + chunk.length));
      this.store.copy(grown, 0, this.start, this.end);
      [this.store, this.start, this.end] = [grown, 0, this.end - this.start];
    }
    chunk.copy(this.store, this.end);
    this.end += chunk.length;
    this.wake();
  }

  wake(change) {
    change?.();
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  // The first truthy value of `probe`, which is asked again whenever something happens on the connection.
  async until(what, probe, ms = 5000) {
    const first = probe();
    if (first) return first;
    let late = false;
    const timer = setTimeout(() => this.wake(() => (late = true)), ms);
    try {
      for (;;) {
        await new Promise((resolve) => this.waiting.push(resolve));
        const value = probe();
        if (value) return value;
        if (late) throw new Error(`waited ${ms} ms in vain: ${what}`);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  // What has come and was not taken yet; valid until more comes.
  get received() {
    return this.store.subarray(this.start, this.end);
  }

  // The first `n` bytes, as a copy.
  take(n) {
    const bytes = Buffer.from(this.store.subarray(this.start, this.start + n));
    this.start += n;
    return bytes;
  }

  send(data) {
    this.socket.write(data);
    return this;
  }

  // Sends in pieces of `size` bytes, each handed to the kernel before the next.
  async sendChopped(data, size) {
    const bytes = Buffer.from(data);
    for (let i = 0; i < bytes.length && !this.closed; i += size)
      await new Promise((resolve) => this.socket.write(bytes.subarray(i, i + size), () => resolve()));
  }

  // Everything until the peer's end.
  async readAll(ms = 5000) {
    await this.until('the end of the stream', () => this.ended, ms);
    return this.take(this.end - this.start);
  }

  destroy() {
    this.socket.destroy();
  }

  // RST in place of FIN.
  reset() {
    this.socket.resetAndDestroy();
  }
}

// One HTTP response from the front of `bytes`: {status, headers (lower case; equal names joined by ", "), body, length}, or null
// when it is not complete. A body without a length ends with the stream: pass `ended`.
export function parseResponse(bytes, { ended = false, head = false } = {}) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [line, ...fields] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const match = /^HTTP\/1\.1 (\d{3}) (.*)$/.exec(line);
  if (!match) throw new Error(`no status line: ${JSON.stringify(line)}`);
  const headers = {};
  for (const field of fields) {
    const colon = field.indexOf(':');
    const name = field.slice(0, colon).toLowerCase();
    const value = field.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  const status = Number(match[1]);
  const start = end + 4;
  const bodiless = head || status < 200 || status === 204 || status === 304;
  let length = bodiless ? 0 : Number(headers['content-length'] ?? NaN);
  if (Number.isNaN(length)) {
    if (!ended) return null;
    length = bytes.length - start;
  }
  if (bytes.length < start + length) return null;
  return { status, headers, body: bytes.subarray(start, start + length), text: bytes.subarray(start, start + length).toString(), length: start + length };
}

// The next response on a connection.
export async function readResponse(tcp, ms = 5000, options = {}) {
  const response = await tcp.until('an HTTP response', () => {
    const parsed = parseResponse(tcp.received, { ended: tcp.ended, ...options });
    if (!parsed && tcp.ended) throw new Error(`the connection ended after ${JSON.stringify(tcp.received.toString('latin1').slice(0, 300))}`);
    return parsed;
  }, ms);
  response.body = tcp.take(response.length).subarray(response.length - response.body.length);
  return response;
}

// Sends bytes on a new connection and gives what comes back: all responses, and whether the broker closed.
export async function exchange(port, bytes, { ms = 5000 } = {}) {
  const tcp = await Tcp.open(port);
  tcp.send(bytes);
  try {
    await tcp.until('the end of the stream', () => tcp.ended, ms);
  } finally {
    tcp.destroy();
  }
  const responses = [];
  let rest = tcp.take(tcp.received.length);
  for (let response; (response = parseResponse(rest, { ended: true })); rest = rest.subarray(response.length)) responses.push(response);
  return { responses, rest };
}

// A request as node:http sends it. Resolves with {status, headers, text, json()}; `response.abort()` is on the returned promise.
export function request(port, path, { method = 'GET', headers = {}, body, agent = false, host = '127.0.0.1', ms = 10_000, socketPath } = {}) {
  let req;
  const promise = new Promise((resolve, reject) => {
    const address = socketPath ? { socketPath } : { host, port };
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    req = http.request({ ...address, path, method, agent, headers: { ...length, ...headers }, timeout: ms }, (res) => {
      const chunks = [];
      res.on('data', (chunk) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => {
        const bytes = Buffer.concat(chunks);
        const text = bytes.toString();
        resolve({ status: res.statusCode, headers: res.headers, rawHeaders: res.rawHeaders, bytes, text, json: () => JSON.parse(text) });
      });
    });
    req.on('timeout', () => req.destroy(new Error(`${method} ${path}: no answer within ${ms} ms`)));
    req.on('error', reject);
    req.end(body);
  });
  promise.abort = () => {
    promise.catch(() => {});
    req.destroy();
  };
  return promise;
}

// ---- WebSocket frames ----------------------------------------------------------------------------------------------

export const OP = { CONT: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 };

// One client frame. `mask: false` and a wrong `length` break the protocol on purpose.
export function frame(opcode, payload = '', { fin = true, rsv = 0, mask = true, length, key = randomBytes(4) } = {}) {
  const data = Buffer.from(payload);
  const n = length ?? data.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const masked = mask ? 0x80 : 0;
  if (n < 126) head.push(masked | n);
  else if (n < 65536) head.push(masked | 126, n >> 8, n & 255);
  else {
    const wide = Buffer.alloc(8);
    wide.writeBigUInt64BE(BigInt(n));
    head.push(masked | 127, ...wide);
  }
  if (!mask) return Buffer.concat([Buffer.from(head), data]);
  const out = Buffer.allocUnsafe(head.length + 4 + data.length);
  Buffer.from(head).copy(out);
  key.copy(out, head.length);
  let at = head.length + 4;
  for (let i = 0; i < data.length; i++) out[at++] = data[i] ^ key[i & 3];
  return out;
}

export function closePayload(code, reason = '') {
  const text = Buffer.from(reason);
  const out = Buffer.alloc(2 + text.length);
  out.writeUInt16BE(code);
  text.copy(out, 2);
  return out;
}

export const text = (payload, options) => frame(OP.TEXT, payload, options);
export const binary = (payload, options) => frame(OP.BINARY, payload, options);
export const cont = (payload, options) => frame(OP.CONT, payload, options);
export const ping = (payload, options) => frame(OP.PING, payload, options);
export const pong = (payload, options) => frame(OP.PONG, payload, options);
export const close = (code, reason, options) => frame(OP.CLOSE, code === undefined ? '' : closePayload(code, reason), options);

// A message cut into frames of `size` bytes.
export function fragments(opcode, payload, size) {
  const data = Buffer.from(payload);
  const out = [];
  for (let i = 0; i < data.length || i === 0; i += size) {
    const fin = i + size >= data.length;
    out.push(frame(i === 0 ? opcode : OP.CONT, data.subarray(i, i + size), { fin }));
  }
  return Buffer.concat(out);
}

// One server frame from the front of `bytes`, or null. Server frames must be unmasked, final in our broker or not, and as short
// as their length allows.
export function parseFrame(bytes) {
  if (bytes.length < 2) return null;
  const opcode = bytes[0] & 15;
  let length = bytes[1] & 127;
  let at = 2;
  if (bytes[1] & 0x80) throw new Error('a masked frame from the server');
  if (length === 126) {
    if (bytes.length < 4) return null;
    length = bytes.readUInt16BE(2);
    if (length < 126) throw new Error('a length in a form that is too wide');
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return null;
    length = Number(bytes.readBigUInt64BE(2));
    if (length < 65536) throw new Error('a length in a form that is too wide');
    at = 10;
  }
  if (bytes.length < at + length) return null;
  return { fin: (bytes[0] & 0x80) !== 0, rsv: (bytes[0] >> 4) & 7, opcode, payload: bytes.subarray(at, at + length), length: at + length };
}

export function upgradeRequest(path, headers = {}, key = randomBytes(16).toString('base64')) {
  const fields = { Host: '127.0.0.1', Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Key': key, 'Sec-WebSocket-Version': '13', ...headers };
  const lines = Object.entries(fields).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${value}\r\n`);
  return { key, text: `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n` };
}

// A WebSocket client that sends what it is told and queues what comes.
export class Ws {
  // `early`: bytes that follow the request at once, before the answer is there.
  static async open(port, path, { headers = {}, early = '', host } = {}) {
    const tcp = await Tcp.open(port, host);
    const { key, text: request_ } = upgradeRequest(path, headers);
    tcp.send(Buffer.concat([Buffer.from(request_), Buffer.from(early)]));
    const response = await readResponse(tcp);
    if (response.status !== 101) {
      tcp.destroy();
      throw Object.assign(new Error(`status ${response.status} in place of 101: ${response.text}`), { response });
    }
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    if (response.headers['sec-websocket-accept'] !== accept) throw new Error('a wrong Sec-WebSocket-Accept');
    const ws = new Ws();
    ws.tcp = tcp;
    ws.response = response;
    return ws;
  }

  send(...frames) {
    this.tcp.send(Buffer.concat(frames));
    return this;
  }

  // The next frame; null when the stream has ended.
  async next(ms = 5000) {
    const probe = () => parseFrame(this.tcp.received) ?? (this.tcp.ended ? 'end' : null);
    const found = await this.tcp.until('a frame', probe, ms);
    if (found === 'end') return null;
    const bytes = this.tcp.take(found.length);
    return { ...found, payload: bytes.subarray(bytes.length - found.payload.length) };
  }

  // The next frame's text; anything else is an error.
  async nextText(ms) {
    const f = await this.next(ms);
    if (!f || f.opcode !== OP.TEXT || !f.fin) throw new Error(`a text frame was expected, not ${describe(f)}`);
    return f.payload.toString();
  }

  // The peer's Close frame after any other frames: its code (1005 without one).
  async nextClose(ms) {
    for (;;) {
      const f = await this.next(ms);
      if (!f) return { code: 1006, reason: '' };
      if (f.opcode === OP.CLOSE) return closeOf(f);
    }
  }

  async ended(ms = 5000) {
    await this.tcp.until('the end of the stream', () => this.tcp.ended, ms);
  }

  destroy() {
    this.tcp.destroy();
  }
}

export function closeOf(f) {
  if (f.payload.length === 0) return { code: 1005, reason: '' };
  return { code: f.payload.readUInt16BE(0), reason: f.payload.subarray(2).toString() };
}

export function describe(f) {
  if (!f) return 'the end of the stream';
  const name = Object.keys(OP).find((k) => OP[k] === f.opcode) ?? f.opcode;
  if (f.opcode === OP.CLOSE) return `CLOSE ${closeOf(f).code} ${JSON.stringify(closeOf(f).reason)}`;
  const shown = f.payload.length > 60 ? `${f.payload.length} bytes` : JSON.stringify(f.payload.toString('latin1'));
  return `${name}${f.fin ? '' : ' (not final)'}${f.rsv ? ` rsv ${f.rsv}` : ''} ${shown}`;
}
