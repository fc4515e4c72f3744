// WebSocket frames (RFC 6455) against a plain endpoint that echoes: what the sections 1 to 7, 9 and 10 of the Autobahn test suite
// check, in words of our own, and all strict: a broken rule is answered by a Close frame with the right code and the end of the
// connection, a kept one by exactly the expected frames.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import path from 'node:path';

import { ROOT, SANITIZED, shareBroker, test } from './harness.mjs';
import { OP, Ws, binary, close, closeOf, closePayload, cont, describe, exchange, fragments, frame, ping, pong, readResponse, Tcp, text, upgradeRequest } from './wire.mjs';

const shared = shareBroker({ before, after }, { config: path.join(ROOT, 'test', 'conformance', 'raw.yaml') });
const connect = (options) => Ws.open(shared.broker.port, '/echo', options);
const SLOW = SANITIZED ? 60_000 : 20_000;

const bytes = (...values) => Buffer.from(values.flat());
const isText = (payload) => ({ opcode: OP.TEXT, payload: Buffer.from(payload) });
const isBinary = (payload) => ({ opcode: OP.BINARY, payload: Buffer.from(payload) });
const isPong = (payload = '') => ({ opcode: OP.PONG, payload: Buffer.from(payload) });

async function expectFrames(ws, expected, ms) {
  for (const want of expected) {
    const got = await ws.next(ms);
    assert.ok(got, `${describe({ ...want, fin: true })} was expected, the stream ended`);
    assert.equal(describe(got), describe({ ...want, fin: true, rsv: 0 }));
    assert.ok(got.payload.equals(want.payload), 'another payload');
  }
}

// The broker has refused: a Close frame with this code, nothing behind it, and the end once we have answered it.
async function expectRefusal(ws, code) {
  const got = await ws.next();
  assert.equal(got?.opcode, OP.CLOSE, `a Close frame was expected, not ${describe(got)}`);
  assert.equal(closeOf(got).code, code, describe(got));
  ws.send(close(code));
  await ws.ended();
  assert.equal(ws.tcp.received.length, 0, 'bytes behind the Close frame');
}

// We close: the broker answers with the same code and ends the connection first.
async function closeCleanly(ws, code = 1000) {
  ws.send(close(code));
  const got = await ws.next();
  assert.equal(describe(got), `CLOSE ${code} ""`);
  await ws.ended();
}

// One case: what is sent (frames; `chop` cuts the bytes into pieces of that size), what comes back, and the code of a refusal.
async function run({ send, chop, expect = [], refuse }) {
  const ws = await connect();
  try {
    const data = Buffer.concat(send);
    if (chop) await ws.tcp.sendChopped(data, chop);
    else ws.tcp.send(data);
    await expectFrames(ws, expect);
    if (refuse) await expectRefusal(ws, refuse);
    else await closeCleanly(ws);
  } finally {
    ws.destroy();
  }
}

function table(section, cases) {
  for (const [name, options] of cases) test(`${section}: ${name}`, () => run(options));
}

// ---- 1: text and binary messages ----

const sizes = [0, 1, 125, 126, 127, 128, 65535, 65536, 65537];
table('echo', sizes.flatMap((n) => [
  [`text of ${n} bytes`, { send: [text('*'.repeat(n))], expect: [isText('*'.repeat(n))] }],
  [`binary of ${n} bytes`, { send: [binary(Buffer.alloc(n, 0xfe))], expect: [isBinary(Buffer.alloc(n, 0xfe))] }],
]));
table('echo in pieces', [
  ['text of 65536 bytes in pieces of 997', { send: [text('*'.repeat(65536))], chop: 997, expect: [isText('*'.repeat(65536))] }],
  ['binary of 65536 bytes in pieces of 997', { send: [binary(Buffer.alloc(65536, 1))], chop: 997, expect: [isBinary(Buffer.alloc(65536, 1))] }],
  ['text of 300 bytes octet by octet', { send: [text('x'.repeat(300))], chop: 1, expect: [isText('x'.repeat(300))] }],
  ['a mask of zeros', { send: [text('plain', { key: bytes(0, 0, 0, 0) })], expect: [isText('plain')] }],
  ['a mask whose bytes repeat', { send: [binary('aaaaaaaaa', { key: bytes(97, 97, 97, 97) })], expect: [isBinary('aaaaaaaaa')] }],
  ['three messages in one segment', { send: [text('a'), binary('b'), text('c')], expect: [isText('a'), isBinary('b'), isText('c')] }],
  ['three messages octet by octet', { send: [text('a'), binary('b'), text('c')], chop: 1, expect: [isText('a'), isBinary('b'), isText('c')] }],
]);

// ---- 2: pings and pongs ----

const ten = [...Array(10).keys()].map((i) => `payload-${i}`);
table('ping', [
  ['without payload', { send: [ping()], expect: [isPong()] }],
  ['with text', { send: [ping('Hello, world!')], expect: [isPong('Hello, world!')] }],
  ['with bytes that are no UTF-8', { send: [ping(bytes(0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff))], expect: [isPong(bytes(0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff))] }],
  ['with 125 bytes', { send: [ping(Buffer.alloc(125, 0xfe))], expect: [isPong(Buffer.alloc(125, 0xfe))] }],
  ['with 126 bytes', { send: [ping(Buffer.alloc(126, 0xfe))], refuse: 1002 }],
  ['with 65536 bytes', { send: [ping(Buffer.alloc(65536, 0xfe))], refuse: 1002 }],
  ['with 125 bytes, octet by octet', { send: [ping(Buffer.alloc(125, 0xfe))], chop: 1, expect: [isPong(Buffer.alloc(125, 0xfe))] }],
  ['a pong that nobody asked for', { send: [pong(), text('x')], expect: [isText('x')] }],
  ['such a pong with payload', { send: [pong('unsolicited'), text('x')], expect: [isText('x')] }],
  ['such a pong, then a ping', { send: [pong('unsolicited'), ping('real')], expect: [isPong('real')] }],
  ['ten in a row', { send: ten.map((p) => ping(p)), expect: ten.map((p) => isPong(p)) }],
  ['ten in a row, octet by octet', { send: ten.map((p) => ping(p)), chop: 1, expect: ten.map((p) => isPong(p)) }],
]);

// ---- 3: reserved bits ----

table('reserved bits', [
  ['rsv1 on text', { send: [text('x', { rsv: 4 })], refuse: 1002 }],
  ['rsv2 on the second of two texts', { send: [text('a'), text('b', { rsv: 2 }), ping()], expect: [isText('a')], refuse: 1002 }],
  ['rsv3 on the second of two texts, octet by octet', { send: [text('a'), text('b', { rsv: 1 }), ping()], chop: 1, expect: [isText('a')], refuse: 1002 }],
  ['rsv1 and rsv2 on text in pieces', { send: [text('a'), text('b', { rsv: 6 })], chop: 3, expect: [isText('a')], refuse: 1002 }],
  ['rsv1 and rsv3 on binary', { send: [binary('x', { rsv: 5 })], refuse: 1002 }],
  ['rsv2 and rsv3 on a ping', { send: [ping('x', { rsv: 3 })], refuse: 1002 }],
  ['rsv1 on a pong', { send: [pong('x', { rsv: 4 })], refuse: 1002 }],
  ['all on a Close', { send: [close(1000, '', { rsv: 7 })], refuse: 1002 }],
  ['rsv1 on a continuation', { send: [text('a', { fin: false }), cont('b', { rsv: 4 })], refuse: 1002 }],
]);

// ---- 4: reserved opcodes ----

table('opcode', [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap((op) => [
  [`${op} without payload`, { send: [frame(op)], refuse: 1002 }],
  [`${op} behind a text, with a ping behind it`, { send: [text('a'), frame(op, 'reserved'), ping()], expect: [isText('a')], refuse: 1002 }],
  [`${op} octet by octet`, { send: [text('a'), frame(op, 'reserved')], chop: 1, expect: [isText('a')], refuse: 1002 }],
]));

table('masking', [
  ['an unmasked text', { send: [frame(OP.TEXT, 'x', { mask: false })], refuse: 1002 }],
  ['an unmasked ping', { send: [frame(OP.PING, '', { mask: false })], refuse: 1002 }],
  ['an unmasked Close', { send: [frame(OP.CLOSE, '', { mask: false })], refuse: 1002 }],
]);

// A length in a wider form than it needs, and one with the highest bit.
const wide16 = (n) => Buffer.concat([bytes(0x81, 0x80 | 126, n >> 8, n & 255, 0, 0, 0, 0), Buffer.alloc(n, 0x61)]);
const wide64 = (n) => Buffer.concat([bytes(0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, n >> 8, n & 255, 0, 0, 0, 0), Buffer.alloc(n, 0x61)]);
table('length', [
  ['125 as 16 bits', { send: [wide16(125)], refuse: 1002 }],
  ['5 as 64 bits', { send: [wide64(5)], refuse: 1002 }],
  ['300 as 64 bits', { send: [wide64(300)], refuse: 1002 }],
  ['with the highest bit', { send: [bytes(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)], refuse: 1002 }],
]);

// ---- 5: fragments ----

const half = (s) => text(s, { fin: false });
table('fragments', [
  ['of a ping', { send: [ping('a', { fin: false }), cont('b')], refuse: 1002 }],
  ['of a pong', { send: [pong('a', { fin: false }), cont('b')], refuse: 1002 }],
  ['of a Close', { send: [close(1000, '', { fin: false })], refuse: 1002 }],
  ['two', { send: [half('frag1'), cont('frag2')], expect: [isText('frag1frag2')] }],
  ['two, in pieces of 7', { send: [half('frag1'), cont('frag2')], chop: 7, expect: [isText('frag1frag2')] }],
  ['two, octet by octet', { send: [half('frag1'), cont('frag2')], chop: 1, expect: [isText('frag1frag2')] }],
  ['two binary', { send: [binary('a', { fin: false }), cont('b')], expect: [isBinary('ab')] }],
  ['with a ping between', { send: [half('frag1'), ping('mid'), cont('frag2')], expect: [isPong('mid'), isText('frag1frag2')] }],
  ['with a ping between, in pieces', { send: [half('frag1'), ping('mid'), cont('frag2')], chop: 5, expect: [isPong('mid'), isText('frag1frag2')] }],
  ['with a ping between, octet by octet', { send: [half('frag1'), ping('mid'), cont('frag2')], chop: 1, expect: [isPong('mid'), isText('frag1frag2')] }],
  ['with a pong between', { send: [half('a'), pong('x'), cont('b')], expect: [isText('ab')] }],
  ['a last one without a first', { send: [cont('x'), text('y')], refuse: 1002 }],
  ['a last one without a first, in pieces', { send: [cont('x'), text('y')], chop: 4, refuse: 1002 }],
  ['a last one without a first, octet by octet', { send: [cont('x')], chop: 1, refuse: 1002 }],
  ['a middle one without a first', { send: [cont('x', { fin: false }), text('y')], refuse: 1002 }],
  ['a middle one without a first, octet by octet', { send: [cont('x', { fin: false })], chop: 1, refuse: 1002 }],
  ['one too many', { send: [half('a'), cont('b'), cont('c'), text('d')], expect: [isText('ab')], refuse: 1002 }],
  ['middle ones after a whole message', { send: [text('a'), cont('b', { fin: false }), text('c')], expect: [isText('a')], refuse: 1002 }],
  ['a new text inside a message', { send: [half('a'), text('b')], refuse: 1002 }],
  ['a new first fragment inside a message', { send: [half('a'), half('b'), cont('c')], refuse: 1002 }],
  ['a binary inside a text', { send: [half('a'), binary('b')], refuse: 1002 }],
  ['five with two pings', {
    send: [half('1'), cont('2', { fin: false }), ping('p1'), cont('3', { fin: false }), cont('4', { fin: false }), ping('p2'), cont('5')],
    expect: [isPong('p1'), isPong('p2'), isText('12345')],
  }],
  ['all of them empty', { send: [half(''), cont('', { fin: false }), cont('')], expect: [isText('')] }],
  ['empty but for the middle', { send: [half(''), cont('middle', { fin: false }), cont('')], expect: [isText('middle')] }],
  ['empty but for the end', { send: [binary('', { fin: false }), cont('', { fin: false }), cont('end')], expect: [isBinary('end')] }],
  ['of one octet each, 1000', { send: [fragments(OP.TEXT, 'y'.repeat(1000), 1)], expect: [isText('y'.repeat(1000))] }],
  ['two messages in a row', { send: [half('a'), cont('b'), binary('c', { fin: false }), cont('d')], expect: [isText('ab'), isBinary('cd')] }],
]);

test('fragments: a message that stays open while pings are answered', async () => {
  const ws = await connect();
  try {
    ws.send(half('begin '));
    for (const p of ['one', 'two']) {
      ws.send(ping(p));
      await expectFrames(ws, [isPong(p)]);
      ws.send(cont(`${p} `, { fin: false }));
    }
    ws.send(cont('end'));
    await expectFrames(ws, [isText('begin one two end')]);
    await closeCleanly(ws);
  } finally {
    ws.destroy();
  }
});

// ---- 6: UTF-8 ----

const kosme = Buffer.from('κόσμε');
const valid = {
  'Greek': kosme,
  'several scripts': Buffer.from('Hello-µ@ßöäüàá-UTF-8!!'),
  'Chinese and an emoji': Buffer.from('漢字 😀'),
  'NUL': bytes(0x00),
  'U+007F': bytes(0x7f),
  'U+0080': bytes(0xc2, 0x80),
  'U+07FF': bytes(0xdf, 0xbf),
  'U+0800': bytes(0xe0, 0xa0, 0x80),
  'U+D7FF': bytes(0xed, 0x9f, 0xbf),
  'U+E000': bytes(0xee, 0x80, 0x80),
  'U+FFFD': bytes(0xef, 0xbf, 0xbd),
  'U+FFFE': bytes(0xef, 0xbf, 0xbe),
  'U+FFFF': bytes(0xef, 0xbf, 0xbf),
  'U+10000': bytes(0xf0, 0x90, 0x80, 0x80),
  'U+1FFFE': bytes(0xf0, 0x9f, 0xbf, 0xbe),
  'U+FFFFF': bytes(0xf3, 0xbf, 0xbf, 0xbf),
  'U+10FFFE': bytes(0xf4, 0x8f, 0xbf, 0xbe),
  'U+10FFFF': bytes(0xf4, 0x8f, 0xbf, 0xbf),
  'all noncharacters of plane 0': Buffer.from([...Array(32).keys()].map((i) => String.fromCodePoint(0xfdd0 + i)).join('')),
};
const invalid = {
  'a lone continuation byte': bytes(0x80),
  'the last continuation byte': bytes(0xbf),
  'two continuation bytes': bytes(0x80, 0xbf),
  'all continuation bytes': Buffer.from([...Array(64).keys()].map((i) => 0x80 + i)),
  'U+110000': bytes(0xf4, 0x90, 0x80, 0x80),
  'a start byte beyond': bytes(0xf5, 0x80, 0x80, 0x80),
  'five bytes': bytes(0xf8, 0x88, 0x80, 0x80, 0x80),
  'six bytes': bytes(0xfc, 0x84, 0x80, 0x80, 0x80, 0x80),
  'the longest of five': bytes(0xfb, 0xbf, 0xbf, 0xbf, 0xbf),
  'the longest of six': bytes(0xfd, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf),
  'start bytes of two': Buffer.from([...Array(32).keys()].flatMap((i) => [0xc0 + i, 0x20])),
  'start bytes of three': Buffer.from([...Array(16).keys()].flatMap((i) => [0xe0 + i, 0x20])),
  'start bytes of four': Buffer.from([...Array(8).keys()].flatMap((i) => [0xf0 + i, 0x20])),
  'start bytes of five': bytes(0xf8, 0x20, 0xf9, 0x20, 0xfa, 0x20, 0xfb, 0x20),
  'start bytes of six': bytes(0xfc, 0x20, 0xfd, 0x20),
  'two bytes without the last': bytes(0xc3, 0x20),
  'three bytes without the last': bytes(0xe0, 0xa0, 0x20),
  'four bytes without the last': bytes(0xf0, 0x90, 0x80, 0x20),
  'FE': bytes(0xfe),
  'FF': bytes(0xff),
  'FE FE FF FF': bytes(0xfe, 0xfe, 0xff, 0xff),
  'a slash in two bytes': bytes(0xc0, 0xaf),
  'a slash in three bytes': bytes(0xe0, 0x80, 0xaf),
  'a slash in four bytes': bytes(0xf0, 0x80, 0x80, 0xaf),
  'U+007F in two bytes': bytes(0xc1, 0xbf),
  'U+07FF in three bytes': bytes(0xe0, 0x9f, 0xbf),
  'U+FFFF in four bytes': bytes(0xf0, 0x8f, 0xbf, 0xbf),
  'NUL in two bytes': bytes(0xc0, 0x80),
  'NUL in three bytes': bytes(0xe0, 0x80, 0x80),
  'NUL in four bytes': bytes(0xf0, 0x80, 0x80, 0x80),
  'the first high surrogate': bytes(0xed, 0xa0, 0x80),
  'the last high surrogate': bytes(0xed, 0xaf, 0xbf),
  'the first low surrogate': bytes(0xed, 0xb0, 0x80),
  'the last low surrogate': bytes(0xed, 0xbf, 0xbf),
  'a pair of surrogates': bytes(0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80),
  'the last pair of surrogates': bytes(0xed, 0xaf, 0xbf, 0xed, 0xbf, 0xbf),
  'good text, then bad': Buffer.concat([kosme, bytes(0xed, 0xa0, 0x80), Buffer.from('edited')]),
};
const unfinished = {
  'two bytes, one there': bytes(0xce),
  'three bytes, two there': bytes(0xe1, 0xbd),
  'four bytes, three there': bytes(0xf0, 0x9f, 0x98),
  'good text, then a start': Buffer.concat([Buffer.from('ok'), bytes(0xf4, 0x8f)]),
};

table('UTF-8', Object.entries(valid).flatMap(([name, data]) => [
  [`valid: ${name}`, { send: [text(data)], expect: [isText(data)] }],
  [`valid, a fragment for each octet: ${name}`, { send: [fragments(OP.TEXT, data, 1)], expect: [isText(data)] }],
]));
table('UTF-8', Object.entries({ ...invalid, ...unfinished }).flatMap(([name, data]) => [
  [`invalid: ${name}`, { send: [text(data)], refuse: 1007 }],
  [`invalid, a fragment for each octet: ${name}`, { send: [fragments(OP.TEXT, data, 1)], refuse: 1007 }],
  [`fine as binary: ${name}`, { send: [binary(data)], expect: [isBinary(data)] }],
]));
table('UTF-8', [
  ['every prefix of a valid text is fine while more may come', { send: [fragments(OP.TEXT, Buffer.concat([kosme, kosme]), 1)], chop: 1, expect: [isText(Buffer.concat([kosme, kosme]))] }],
  ['split inside a character between fragments', { send: [half(kosme.subarray(0, 1)), cont(kosme.subarray(1))], expect: [isText(kosme)] }],
  ['split inside a character around a ping', { send: [half(kosme.subarray(0, 4)), ping(bytes(0x80)), cont(kosme.subarray(4))], expect: [isPong(bytes(0x80)), isText(kosme)] }],
  ['a character that the end of the message cuts', { send: [half('ok'), cont(bytes(0xce))], refuse: 1007 }],
]);

// The rest of the message is never sent: the refusal must come with the first impossible byte.
for (const [name, data] of Object.entries(invalid)) {
  test(`UTF-8: refused before the message is complete: ${name}`, () => run({ send: [text(data, { fin: false })], refuse: 1007 }));
}
test('UTF-8: refused inside a frame whose rest has not come', async () => {
  const ws = await connect();
  try {
    const whole = text(Buffer.concat([kosme, bytes(0xf4, 0x90, 0x80, 0x80), Buffer.from('edited')]), { key: bytes(0, 0, 0, 0) });
    const at = 6 + kosme.length; // header and mask, then the first bad character
    ws.send(whole.subarray(0, at + 1)); // F4 may still become something
    ws.send(whole.subarray(at + 1, at + 2)); // F4 90 cannot
    await expectRefusal(ws, 1007);
  } finally {
    ws.destroy();
  }
});
test('UTF-8: a prefix that may become a character is not refused inside a frame', async () => {
  const ws = await connect();
  try {
    const whole = text(kosme);
    ws.tcp.send(whole.subarray(0, whole.length - 1));
    await ws.tcp.sendChopped(whole.subarray(whole.length - 1), 1);
    await expectFrames(ws, [isText(kosme)]);
    await closeCleanly(ws);
  } finally {
    ws.destroy();
  }
});

// ---- 7: closing ----

// Sends and expects one Close frame that answers ours (code as given), the end, and nothing else.
async function closing({ send, chop, expect = [], answer }) {
  const ws = await connect();
  try {
    if (chop) await ws.tcp.sendChopped(Buffer.concat(send), chop);
    else ws.send(...send);
    await expectFrames(ws, expect);
    const got = await ws.next();
    assert.equal(got?.opcode, OP.CLOSE, describe(got));
    assert.equal(closeOf(got).code, answer);
    await ws.ended(4000);
    assert.equal(ws.tcp.received.length, 0, 'bytes behind the Close frame');
  } finally {
    ws.destroy();
  }
}

const big = 'z'.repeat(256 * 1024);
const closes = [
  ['after a message', { send: [text('bye'), close(1000)], expect: [isText('bye')], answer: 1000 }],
  ['twice', { send: [close(1000), close(1000)], answer: 1000 }],
  ['a ping behind the Close is not answered', { send: [close(1000), ping('late')], answer: 1000 }],
  ['a text behind the Close is not echoed', { send: [close(1000), text('late')], answer: 1000 }],
  ['inside a message', { send: [half('a'), close(1000), cont('b')], answer: 1000 }],
  ['behind 256 KiB that are echoed first', { send: [text(big), close(1000), ping()], expect: [isText(big)], answer: 1000 }],
  ['octet by octet', { send: [close(1001, 'going')], chop: 1, answer: 1001 }],
  ['without payload', { send: [close()], answer: 1005 }],
  ['with one octet', { send: [frame(OP.CLOSE, bytes(3))], answer: 1002 }],
  ['with a code', { send: [close(1000)], answer: 1000 }],
  ['with a reason', { send: [close(1000, 'Hello World!')], answer: 1000 }],
  ['with the longest reason', { send: [close(1000, '*'.repeat(123))], answer: 1000 }],
  ['with a reason that is too long', { send: [close(1000, '*'.repeat(124))], answer: 1002 }],
  ['with a reason that is no UTF-8', { send: [frame(OP.CLOSE, Buffer.concat([closePayload(1000), kosme, bytes(0xce, 0xba, 0xed, 0xa0, 0x80)]))], answer: 1007 }],
  ['with a reason in Greek', { send: [close(1000, 'κόσμε')], answer: 1000 }],
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    .map((code) => [`with the valid code ${code}`, { send: [close(code)], answer: code }]),
  ...[0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
    .map((code) => [`with the invalid code ${code}`, { send: [close(code)], answer: 1002 }]),
];
for (const [name, options] of closes) test(`close ${name}`, () => closing(options));

test('close: the answer to ours ends the connection at once, not after a timeout', async () => {
  const ws = await connect();
  const start = performance.now();
  await closeCleanly(ws);
  assert.ok(performance.now() - start < 1000);
  ws.destroy();
});
test('close: a peer that goes away without one does not disturb', async () => {
  const gone = await connect();
  gone.send(half('unfinished'));
  gone.tcp.reset();
  await run({ send: [text('x')], expect: [isText('x')] });
});

// ---- 9: sizes ----

const MIB = 1024 * 1024;
async function bigEcho(opcode, size, fragment) {
  const ws = await connect();
  const payload = Buffer.alloc(size, opcode === OP.TEXT ? 0x2a : 0xfe);
  try {
    ws.send(fragment ? fragments(opcode, payload, fragment) : frame(opcode, payload));
    await expectFrames(ws, [{ opcode, payload }], SLOW);
    await closeCleanly(ws);
  } finally {
    ws.destroy();
  }
}
for (const size of [64 * 1024, 256 * 1024, MIB, 4 * MIB, 8 * MIB, 16 * MIB]) {
  test(`size: text of ${size / 1024} KiB`, () => bigEcho(OP.TEXT, size));
  test(`size: binary of ${size / 1024} KiB`, () => bigEcho(OP.BINARY, size));
}
for (const fragment of [64, 256, 1024, 4096, 16384, 65536, 256 * 1024, MIB, 4 * MIB]) {
  test(`size: text of 4 MiB in fragments of ${fragment} bytes`, () => bigEcho(OP.TEXT, 4 * MIB, fragment));
  test(`size: binary of 4 MiB in fragments of ${fragment} bytes`, () => bigEcho(OP.BINARY, 4 * MIB, fragment));
}
for (const piece of [64, 128, 256, 512, 1024, 2048]) {
  for (const opcode of [OP.TEXT, OP.BINARY]) {
    test(`size: ${opcode === OP.TEXT ? 'text' : 'binary'} of 1 MiB in segments of ${piece} bytes`, async () => {
      const ws = await connect();
      const payload = Buffer.alloc(MIB, 0x2a);
      try {
        await ws.tcp.sendChopped(frame(opcode, payload), piece);
        await expectFrames(ws, [{ opcode, payload }], SLOW);
        await closeCleanly(ws);
      } finally {
        ws.destroy();
      }
    });
  }
}
for (const size of [0, 16, 64, 256, 1024, 4096]) {
  for (const opcode of [OP.TEXT, OP.BINARY]) {
    test(`size: 1000 ${opcode === OP.TEXT ? 'texts' : 'binaries'} of ${size} bytes, one after the other`, async () => {
      const ws = await connect();
      const payload = Buffer.alloc(size, 0x2a);
      try {
        for (let i = 0; i < 1000; i++) {
          ws.send(frame(opcode, payload));
          await expectFrames(ws, [{ opcode, payload }]);
        }
        await closeCleanly(ws);
      } finally {
        ws.destroy();
      }
    });
  }
}
// limits of the profile: 64 MiB
table('size beyond the limit', [
  ['declared in one frame', { send: [frame(OP.BINARY, 'x', { length: 64 * MIB + 1 })], refuse: 1009 }],
  ['declared as the longest there is', { send: [bytes(0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)], refuse: 1009 }],
  ['declared in a second fragment', { send: [binary('x', { fin: false }), frame(OP.CONT, 'y', { length: 64 * MIB })], refuse: 1009 }],
]);

// ---- 10: fragments as a client would send them ----

table('automatic fragments', [
  ['65536 bytes in frames of 1300', { send: [fragments(OP.TEXT, '*'.repeat(65536), 1300)], expect: [isText('*'.repeat(65536))] }],
  ['65536 bytes in frames of 1300, segments of 977', { send: [fragments(OP.BINARY, Buffer.alloc(65536, 7), 1300)], chop: 977, expect: [isBinary(Buffer.alloc(65536, 7))] }],
]);

// ---- the handshake ----

async function handshake(headers) {
  const tcp = await Tcp.open(shared.broker.port);
  tcp.send(upgradeRequest('/echo', headers).text);
  const response = await readResponse(tcp);
  tcp.destroy();
  return response;
}
test('handshake: nothing is sent before the first message, and no extension is agreed', async () => {
  const ws = await connect({ headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits', 'Sec-WebSocket-Protocol': 'chat' } });
  assert.equal(ws.response.headers['sec-websocket-extensions'], undefined);
  assert.equal(ws.response.headers['sec-websocket-protocol'], undefined);
  ws.send(ping('first'));
  await expectFrames(ws, [isPong('first')]);
  await closeCleanly(ws);
});
test('handshake: frames in the segment of the request are not lost', async () => {
  const ws = await connect({ early: Buffer.concat([text('early'), ping('bird')]) });
  // A control frame may overtake a message, RFC 6455, section 5.4.
  const got = [describe(await ws.next()), describe(await ws.next())].sort();
  assert.deepEqual(got, ['PONG "bird"', 'TEXT "early"']);
  await closeCleanly(ws);
});
const handshakes = [
  ['version 12', { 'Sec-WebSocket-Version': '12' }, 426],
  ['no version', { 'Sec-WebSocket-Version': null }, 426],
  ['no key', { 'Sec-WebSocket-Key': null }, 400],
  ['a key of 15 bytes', { 'Sec-WebSocket-Key': 'MTIzNDU2Nzg5MDEyMzQ1' }, 400],
  ['a key that is no base64', { 'Sec-WebSocket-Key': '!!!!!!!!!!!!!!!!!!!!!!==' }, 400],
  ['no upgrade', { Upgrade: null }, 426],
  ['another upgrade', { Upgrade: 'h2c' }, 426],
  ['an upgrade that Connection does not name', { Connection: 'keep-alive' }, 426],
];
for (const [name, headers, status] of handshakes) {
  test(`handshake: ${name}`, async () => {
    const response = await handshake(headers);
    assert.equal(response.status, status, response.text);
    if (status === 426) assert.match(response.headers.upgrade, /websocket/i);
  });
}
test('handshake: 426 names the version that is spoken', async () => {
  assert.equal((await handshake({ 'Sec-WebSocket-Version': '8' })).headers['sec-websocket-version'], '13');
});
test('handshake: names and tokens in any case, in lists', async () => {
  assert.equal((await handshake({ Upgrade: 'foo, WebSocket', Connection: 'keep-alive, UPGRADE' })).status, 101);
});
test('handshake: POST is refused', async () => {
  const { text: request } = upgradeRequest('/echo');
  const { responses } = await exchange(shared.broker.port, request.replace('GET', 'POST').replace('\r\n\r\n', '\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'));
  assert.ok(responses[0].status >= 400 && responses[0].status < 500, String(responses[0].status));
});
