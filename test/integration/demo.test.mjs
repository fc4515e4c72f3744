// The demo page in a real browser: Debian's chromium, driven by playwright-core. Left out only where there is no chromium.
//
// Environment: CHROMIUM names another binary; SCREENSHOTS a directory that gets pictures to look at.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before } from 'node:test';
import { promisify } from 'node:util';

import { chromium } from 'playwright-core';

import { BINARY, CHROMIUM, HERE, ROOT, noChromium, shareBroker, startBroker, tempFile, test as plainTest, until } from './harness.mjs';

const run = promisify(execFile);
const FILES = path.join(ROOT, 'src', 'admin', 'web', 'demo');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const BUDGET = 100 * 1024; // bytes of all files of the page
const DESKTOP = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };

const skip = noChromium();
const test = (name, fn) => plainTest(name, { skip }, fn);

let browser;
const shared = skip ? {} : shareBroker({ before, after }, { dev: true });
if (!skip) {
  before(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  });
  after(() => browser?.close());
}

let rooms = 0;
const newRoom = () => `room:${++rooms}`;

// A page in a profile of its own, connected, its history shown. What it complains about fails the test, but for `expected`.
async function open(t, { room, name, broker = shared.broker, viewport = DESKTOP, expected, prepare, ...options }) {
  const context = await browser.newContext({ viewport, locale: 'en-GB', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !expected?.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => {
    if (new URL(request.url()).origin !== broker.url) complaints.push(`foreign request: ${request.url()}`);
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints, [], `${name}'s page complains`);
  });
  await prepare?.(page);
  await page.goto(`${broker.url}/?room=${encodeURIComponent(room)}&name=${encodeURIComponent(name)}`);
  await online(page);
  return page;
}

const online = (page) => page.waitForSelector('body:has(#badge[data-state=online]) #log[aria-busy=false]', { state: 'attached' });
const say = async (page, words) => {
  await page.fill('#text', words);
  await page.press('#text', 'Enter');
};
// What stands in the channel's order, and what does not yet.
const shown = (page) => page.$$eval('#messages .bubble', (items) => items.map((item) => item.textContent));
const waiting = (page) => page.$$eval('#outbox .message', (items) => items.map((item) => item.querySelector('.bubble').textContent));
const states = (page) => page.$$eval('#messages .mine .state', (items) => items.map((item) => item.textContent));
const shows = (page, count, ms = 10_000) =>
  until(`${count} messages`, async () => (await shown(page)).length >= count && (await waiting(page)).length === 0, ms);

async function api(broker, method, body) {
  const response = await fetch(`${broker.url}/api/${method}`, { method: 'POST', body: JSON.stringify(body) });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()).result;
}
const publish = (room, text, broker = shared.broker) => api(broker, 'publish', { channel: room, event: 'chat', data: { name: 'API', text } });
const connections = async (room) => (await api(shared.broker, 'channels', { pattern: room })).channels[room].num_clients;
async function logged(room, broker = shared.broker) {
  const { publications } = await api(broker, 'history', { channel: room, limit: 100 });
  return publications.map((p) => p.data.text);
}

// Whatever elements of this kind say from now on, however short. Returns a function that tells it.
async function record(page, selector) {
  await page.evaluate((s) => {
    window.said = [];
    const note = () => window.said.push(...[...document.querySelectorAll(s)].map((node) => node.textContent));
    new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true });
  }, selector);
  return () => page.evaluate(() => window.said);
}

async function picture(page, name, options) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${name}.png`), ...options });
}

test('two pages talk: the same messages once, in the same order, each with its position', async (t) => {
  const room = newRoom();
  const ada = await open(t, { room, name: 'Ada' });
  const bob = await open(t, { room, name: 'Bob' });
  for (let i = 0; i < 5; i++) await Promise.all([say(ada, `ada ${i}`), say(bob, `bob ${i}`)]);
  await Promise.all([shows(ada, 10), shows(bob, 10)]);
  const expected = await logged(room);
  assert.equal(new Set(expected).size, 10);
  assert.deepEqual(await shown(ada), expected);
  assert.deepEqual(await shown(bob), expected);
  assert.deepEqual(expected.filter((text) => text.startsWith('ada')), [0, 1, 2, 3, 4].map((i) => `ada ${i}`));
  await until('positions', async () => (await states(ada)).every((state) => /^Stored at \S+:\d+$/.test(state)));
  const offsets = (await states(ada)).map((state) => Number(state.split(':')[1]));
  assert.deepEqual(offsets, expected.flatMap((text, i) => (text.startsWith('ada') ? [i + 1] : [])));
  assert.match(await bob.textContent('#messages .message:not(.mine) .name'), /^Ada$/);
  await picture(ada, 'two-light');
});

test('who writes markup has written text', async (t) => {
  const room = newRoom();
  const ada = await open(t, { room, name: '<i>Ada</i>' });
  const bob = await open(t, { room, name: 'Bob' });
  await say(ada, '<img src=x onerror=alert(1)> "quoted" & more');
  await shows(bob, 1);
  assert.deepEqual(await shown(bob), ['<img src=x onerror=alert(1)> "quoted" & more']);
  assert.equal(await bob.textContent('#messages .name'), '<i>Ada</i>');
});

test('history is there on load', async (t) => {
  const room = newRoom();
  for (let i = 0; i < 60; i++) await publish(room, `old ${i}`);
  const ada = await open(t, { room, name: 'Ada' });
  assert.deepEqual(await shown(ada), Array.from({ length: 50 }, (_, i) => `old ${i + 10}`));
  await publish(room, 'new');
  await shows(ada, 51);
  // What a message says of itself, the last one on the page, is in view: stored, and waiting while the network is cut.
  const inView = (words) =>
    ada.evaluate((text) => {
      const state = [...document.querySelectorAll('.mine .state')].at(-1);
      return state.textContent.startsWith(text) && state.getBoundingClientRect().bottom <= document.querySelector('#scroll').getBoundingClientRect().bottom;
    }, words);
  await say(ada, 'mine');
  await until('its state is in view', () => inView('Stored at'));
  await ada.click('#cut');
  await ada.waitForSelector('#badge[data-state=cut]');
  await say(ada, 'cut off');
  await until('it is in view while cut', () => inView('Waits for the connection'));
  await picture(ada, 'cut-in-view');
});

test('what comes while the history is on its way is shown once, whether it has an id or not', async (t) => {
  const room = newRoom();
  const texts = [];
  // Texts repeat, so that only counting helps.
  const write = async (text) => {
    texts.push(text, text);
    await api(shared.broker, 'publish', { channel: room, data: { text } });
    await api(shared.broker, 'publish', { channel: room, event: 'chat', data: { text, id: `id ${texts.length}` } });
  };
  await write('before');
  const prepare = (page) =>
    page.route('**/api/history', async (route) => {
      for (let i = 0; i < 3; i++) await write('in both'); // the page has joined already
      const response = await route.fetch();
      for (let i = 0; i < 3; i++) await write('live only');
      await route.fulfill({ response });
    });
  const ada = await open(t, { room, name: 'Ada', prepare });
  for (let i = 0; i < 3; i++) await write('afterwards');
  await until('the last', async () => (await shown(ada)).filter((text) => text === 'afterwards').length >= 6);
  assert.deepEqual(await shown(ada), texts);
});

test('a reload shows own messages as own, with their positions', async (t) => {
  const room = newRoom();
  const ada = await open(t, { room, name: 'Ada' });
  await say(ada, 'one');
  await say(ada, 'two');
  await shows(ada, 2);
  await until('stored', async () => (await states(ada)).every((state) => state.startsWith('Stored')));
  const before = await states(ada);
  await ada.reload();
  await online(ada);
  assert.deepEqual(await shown(ada), ['one', 'two']);
  assert.deepEqual(await states(ada), before);
  assert.equal(await ada.inputValue('#name'), 'Ada');
});

for (const transport of ['websocket', 'polling']) {
  test(`cut and recovered over ${transport}: all that was missed, once, and what was written meanwhile`, async (t) => {
    const room = newRoom();
    const sockets = [];
    const ada = await open(t, { room, name: 'Ada', prepare: (page) => page.on('websocket', (ws) => sockets.push(ws)) });
    const bob = await open(t, { room, name: 'Bob' });
    if (transport === 'polling') {
      await ada.check('#transport input[value=polling]', { force: true });
      await ada.waitForFunction(() => /Long-polling/.test(document.querySelector('#badge').textContent));
      await online(ada);
      await until('the WebSocket is closed', () => sockets.every((ws) => ws.isClosed()));
    }
    assert.equal(sockets.length, 1);
    await say(ada, 'before');
    await shows(bob, 1);
    await say(bob, 'before, too');
    await shows(ada, 2);
    const session = (await ada.textContent('#sid')).slice(0, 8);

    await ada.click('#cut');
    await ada.waitForSelector('#badge[data-state=cut]');
    // Between two polls the broker cannot notice; it must be right all the same.
    if (transport === 'websocket') await until('the broker has noticed', async () => (await connections(room)) === 1);
    for (let i = 0; i < 4; i++) await say(bob, `missed ${i}`);
    await publish(room, 'missed by way of the API');
    await say(ada, 'written offline 1');
    await say(ada, 'written offline 2');
    await shows(bob, 7);
    assert.deepEqual(await shown(ada), ['before', 'before, too']);
    assert.deepEqual(await waiting(ada), ['written offline 1', 'written offline 2']);
    assert.ok(!(await logged(room)).includes('written offline 1'));
    await picture(ada, `cut-${transport}`);

    await online(ada); // by itself, after eight seconds
    await Promise.all([shows(ada, 9), shows(bob, 9)]);
    const expected = await logged(room);
    assert.deepEqual(expected.slice(-2), ['written offline 1', 'written offline 2']);
    assert.deepEqual(await shown(ada), expected);
    assert.deepEqual(await shown(bob), expected);
    assert.match(await ada.textContent('#outcome'), /^Recovered after \d+\.\d s: 5 missed messages replayed\.$/);
    assert.equal((await ada.textContent('#sid')).slice(0, 8), session, 'another session');
    assert.equal(sockets.length, transport === 'polling' ? 1 : 2);
    await picture(ada, `recovered-${transport}`, { fullPage: true });
  });
}

test('a change of transport is a recovery, too', async (t) => {
  const room = newRoom();
  const ada = await open(t, { room, name: 'Ada' });
  await say(ada, 'one');
  await shows(ada, 1);
  for (const transport of ['polling', 'websocket', 'polling']) {
    await ada.check(`#transport input[value=${transport}]`, { force: true });
    await ada.waitForFunction((label) => document.querySelector('#via').textContent === label, transport === 'polling' ? 'Long-polling' : 'WebSocket');
    await online(ada);
    assert.match(await ada.textContent('#outcome'), /^Recovered .* nothing was missed\.$/);
    await say(ada, `over ${transport}`);
  }
  await shows(ada, 4);
  assert.deepEqual(await shown(ada), await logged(room));
});

test('a session that is gone is said to be gone: history is loaded anew', async (t) => {
  const room = newRoom();
  const broker = await startBroker(t, { dev: true });
  const ada = await open(t, { room, name: 'Ada', broker, expected: /ERR_CONNECTION_|ERR_EMPTY_RESPONSE|WebSocket connection/ });
  await say(ada, 'lost with the memory');
  await shows(ada, 1);
  await broker.kill();
  await ada.waitForSelector('#badge[data-state=waiting]');
  await say(ada, 'kept by the page');
  await broker.restart();
  await publish(room, 'the first of the new log', broker);
  await online(ada);
  await until('it is stored', async () => (await logged(room, broker)).includes('kept by the page'));
  await shows(ada, 2);
  assert.deepEqual(await shown(ada), ['the first of the new log', 'kept by the page']);
  assert.match(await ada.textContent('#outcome'), /new log.*history loaded anew/);
});

test('heartbeats keep an idle page connected, and a broker that falls silent is noticed', async (t) => {
  const room = newRoom();
  const broker = await startBroker(t, { dev: true, set: { 'protocols.socketio.ping_interval': '300ms', 'protocols.socketio.ping_timeout': '700ms' } });
  let pings = 0;
  const count = (ws) => ws.on('framereceived', ({ payload }) => (pings += payload === '2' ? 1 : 0));
  const ada = await open(t, { room, name: 'Ada', broker, prepare: (page) => page.on('websocket', count) });
  await say(ada, 'before');
  await shows(ada, 1);
  const session = (await ada.textContent('#sid')).slice(0, 8);
  await until('ten pings', () => pings >= 10, 15_000);
  assert.equal((await ada.textContent('#sid')).slice(0, 8), session);
  const said = await record(ada, '#offline-text');
  process.kill(broker.pid, 'SIGSTOP');
  try {
    await until('the page says so', async () => (await said()).includes('Offline: the broker is silent.'), 10_000);
  } finally {
    process.kill(broker.pid, 'SIGCONT');
  }
  await online(ada);
  assert.match(await ada.textContent('#outcome'), /^Recovered after .* nothing was missed\.$/);
  assert.equal((await ada.textContent('#sid')).slice(0, 8), session);
  await ada.context().close(); // before its broker ends
});

// Over polling the broker's answers pass through our hands. `change` gets the body of each.
async function rewriteAnswers(page, change) {
  await page.route(/transport=polling/, async (route) => {
    if (route.request().method() !== 'GET') return route.continue();
    try {
      const response = await route.fetch({ timeout: 0 });
      await route.fulfill({ response, body: change(await response.text()) });
    } catch {
      await route.abort().catch(() => {}); // the page has gone on
    }
  });
}

test('"retry" and "unknown" are told apart, and both end in one stored message', async (t) => {
  const room = newRoom();
  const answers = [];
  const lies = ['{"ok":false,"error":"unknown","message":"disk is slow"}', '{"ok":false,"error":"retry","message":"log is full"}'];
  const prepare = (page) =>
    rewriteAnswers(page, (body) =>
      body.replace(/(43\d+\[)(\{"ok":true,"epoch"[^}]*\})/, (all, head, answer) => {
        answers.push(answer);
        return lies.length ? `${head}${lies.shift()}` : all;
      }),
    );
  const ada = await open(t, { room, name: 'Ada', prepare });
  const said = await record(ada, '.mine .state');
  await ada.check('#transport input[value=polling]', { force: true });
  await ada.waitForFunction(() => document.querySelector('#via').textContent === 'Long-polling');
  await online(ada);
  await say(ada, 'whatever happens');
  await until('the third answer', () => answers.length === 3, 15_000);
  await until('stored', async () => /^Stored at/.test((await states(ada))[0]));
  assert.deepEqual(await logged(room), ['whatever happens']);
  assert.deepEqual(await shown(ada), ['whatever happens']);
  assert.equal(new Set(answers).size, 1, 'the same position each time');
  const seen = (await said()).join('\n');
  assert.match(seen, /Perhaps stored \(disk is slow\), again in 0\.5 s with the same key/);
  assert.match(seen, /Not stored \(log is full\), again in 1\.0 s/);
});

test('a refusal is final and says why', async (t) => {
  const room = newRoom();
  const broker = await startBroker(t, { dev: true, set: { 'limits.message': '1KiB' } });
  const ada = await open(t, { room, name: 'Ada', broker });
  await say(ada, 'x'.repeat(1500));
  await ada.waitForSelector('#outbox .state.bad');
  assert.match(await ada.textContent('#outbox .state'), /^Refused: .*limits\.message/);
  await say(ada, 'short');
  await until('the next one is stored', async () => (await shown(ada)).includes('short'));
  await ada.click('text=Discard');
  assert.deepEqual(await waiting(ada), []);
  assert.deepEqual(await logged(room, broker), ['short']);
  await ada.context().close(); // before its broker ends
});

test('another room is another conversation; names come and go', async (t) => {
  const [first, second] = [newRoom(), newRoom()];
  const ada = await open(t, { room: first, name: 'Ada' });
  const bob = await open(t, { room: first, name: 'Bob' });
  const has = async (page, name) => (await page.$$eval('#people li', (rows) => rows.map((row) => row.textContent))).some((row) => row.includes(name));
  await until('Ada sees Bob', () => has(ada, 'Bob'));
  await until('Bob sees Ada', () => has(bob, 'Ada'));
  await until('two connections', async () => /^2 connections in this room, says the broker\.$/.test(await ada.textContent('#count')));
  await say(bob, 'in the first');
  await shows(ada, 1);
  await bob.fill('#room', second);
  await bob.press('#room', 'Enter');
  await bob.waitForFunction((title) => document.querySelector('#title').textContent === title, second);
  await online(bob);
  await until('Bob has left', async () => !(await has(ada, 'Bob')));
  await publish(first, 'not for Bob');
  await say(bob, 'in the second');
  await shows(bob, 1);
  await shows(ada, 2);
  assert.deepEqual(await shown(bob), ['in the second']);
  assert.deepEqual(await shown(ada), ['in the first', 'not for Bob']);
  assert.equal(new URL(bob.url()).searchParams.get('room'), second);
  await bob.fill('#name', 'Bobby');
  await bob.press('#name', 'Enter');
  await bob.fill('#room', first);
  await bob.press('#room', 'Enter');
  await until('Bobby is there', () => has(ada, 'Bobby'));
  await until('what he missed', async () => (await shown(bob)).length === 2);
  await bob.click('#cut');
  await until('his connection is missed', async () => /1 name above lost theirs/.test(await ada.textContent('#count')), 12_000);
  await until('and back', async () => /^2 connections in this room, says the broker\.$/.test(await ada.textContent('#count')), 20_000);
  await bob.close();
  await until('Bobby is gone', async () => !(await has(ada, 'Bobby')));
});

// Presses Tab until the element has the focus; at most once around the page.
async function tabTo(page, selector, key = 'Tab') {
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press(key);
    if (await page.evaluate((s) => document.activeElement?.matches(s), selector)) {
      const outline = await page.evaluate(() => {
        const focused = document.activeElement;
        const box = focused.matches('.switch input') ? focused.nextElementSibling : focused;
        return getComputedStyle(box).outlineStyle;
      });
      assert.notEqual(outline, 'none', `no visible focus on ${selector}`);
      return;
    }
  }
  assert.fail(`${selector} cannot be reached with the keyboard`);
}

test('everything works with the keyboard alone', async (t) => {
  const room = newRoom();
  const ada = await open(t, { room: 'chat:lobby', name: 'Nobody' });
  const keys = ada.keyboard;
  await ada.evaluate(() => document.activeElement.blur());
  await tabTo(ada, '.skip');
  await keys.press('Enter');
  assert.equal(await ada.evaluate(() => document.activeElement.id), 'text');
  await tabTo(ada, '#room', 'Shift+Tab');
  await keys.press('Control+A');
  await keys.type(room);
  await tabTo(ada, '#name', 'Shift+Tab');
  await keys.press('Control+A');
  await keys.type('Ada');
  await keys.press('Enter');
  await ada.waitForFunction((title) => document.querySelector('#title').textContent === title, room);
  await online(ada);
  await tabTo(ada, '#scroll');
  await tabTo(ada, '#text');
  await keys.type('first line');
  await keys.press('Shift+Enter');
  await keys.type('second line');
  await keys.press('Enter');
  await shows(ada, 1);
  assert.deepEqual(await shown(ada), ['first line\nsecond line']);

  await tabTo(ada, '#transport input');
  await keys.press('ArrowRight');
  await ada.waitForFunction(() => document.querySelector('#via').textContent === 'Long-polling');
  await online(ada);
  await tabTo(ada, '#cut');
  await keys.press('Enter');
  await ada.waitForSelector('#badge[data-state=cut]');
  assert.equal(await ada.evaluate(() => document.activeElement.id), 'cut', 'the focus got lost');
  await keys.press('Enter'); // the same button now reconnects
  await online(ada);
  assert.match(await ada.textContent('#outcome'), /^Recovered/);

  await tabTo(ada, '#second');
  await tabTo(ada, '[role=tab]');
  await keys.press('ArrowRight');
  assert.equal(await ada.textContent('[role=tab][aria-selected=true]'), 'Terminal');
  await keys.press('End');
  assert.equal(await ada.textContent('[role=tab][aria-selected=true]'), 'Configuration');
  await keys.press('Home');
  await tabTo(ada, '#lines');
  await tabTo(ada, '#copy');
  await keys.press('Enter');
  await ada.waitForFunction(() => /Copied|Selected/.test(document.querySelector('#copy').textContent));
});

for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
    test(`axe finds nothing: ${colorScheme}, ${size}`, async (t) => {
      const room = newRoom();
      for (const name of ['Ada', 'Grace', 'Linus', 'Barbara', 'Donald', 'Edsger', 'Radia', 'Alan', 'Frances', 'Ken'])
        await api(shared.broker, 'publish', { channel: room, event: 'chat', data: { name, text: `I am ${name}` } });
      await api(shared.broker, 'publish', { channel: room, data: { not: 'a chat message' } });
      const page = await open(t, { room, name: 'Ada', viewport, colorScheme, reducedMotion: 'reduce' });
      await say(page, 'one of mine');
      await shows(page, 12);
      const check = async (when) => {
        await page.evaluate(AXE);
        const { violations } = await page.evaluate(() => window.axe.run());
        const found = violations.map((v) => `${v.impact} ${v.id}: ${v.nodes.map((n) => `${n.html} ${n.failureSummary}`).join('; ')}`);
        assert.deepEqual(found, [], when);
      };
      await check('connected');
      await picture(page, `${colorScheme}-${size}`, { fullPage: true });
      await page.click('#cut');
      await say(page, 'waits');
      await check('cut off');
      await page.click('#now');
      await online(page);
      await until('the text of it', async () => /^Recovered/.test(await page.textContent('#outcome')));
      await check('recovered');
    });
  }
}

test('nothing is wider than a narrow screen; motion is reduced on request', async (t) => {
  const room = newRoom();
  await publish(room, 'w'.repeat(500));
  const page = await open(t, { room, name: 'A name of forty characters, to the brim..', viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' });
  await shows(page, 1);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page scrolls sideways');
  assert.ok(await page.evaluate(() => document.querySelector('#scroll').scrollWidth <= document.querySelector('#scroll').clientWidth));
  const animations = await page.evaluate(() => document.getAnimations().length);
  assert.equal(animations, 0);
  await picture(page, 'narrow');
});

test('the files are small, ours alone, and under a strict policy', async (t) => {
  const sizes = readdirSync(FILES).map((file) => statSync(path.join(FILES, file)).size);
  assert.ok(sizes.reduce((a, b) => a + b) < BUDGET);
  const requests = [];
  await open(t, { room: newRoom(), name: 'Ada', prepare: (page) => page.on('request', (request) => requests.push(request.url())) });
  for (const url of requests) assert.equal(new URL(url).host, new URL(shared.broker.url).host);
  const response = await fetch(shared.broker.url);
  const policy = response.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.doesNotMatch(await response.text(), /<script(?![^>]*src=)|<style| style=| on\w+=/);
});

test('the code that is shown runs', async (t) => {
  const room = newRoom();
  const ada = await open(t, { room, name: "Ada O'Hara" });
  const snippet = async (tab) => {
    await ada.click(`[role=tab]:text-is("${tab}")`);
    return ada.textContent('#snippet');
  };
  const last = (text) => until(`"${text}" is shown`, async () => (await shown(ada)).at(-1) === text);

  const script = await snippet('socket.io-client');
  const runs = (text) => {
    const client = spawn(process.execPath, ['--input-type=module', '-e', text], { cwd: HERE, stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => client.kill('SIGKILL'));
    client.output = '';
    client.stdout.on('data', (chunk) => (client.output += chunk));
    return client;
  };
  const client = runs(script);
  await last('hi');
  await until('its answer', () => /ok: true, epoch: '\S+', offset: 1/.test(client.output));
  await until('its own message', () => client.output.includes("Ada O'Hara: hi"));
  await publish(room, 'to the snippet');
  await until('it receives', () => client.output.includes('API: to the snippet'));

  const shell = async (line) => (await run('sh', ['-c', line], { cwd: path.dirname(BINARY) })).stdout;
  const lines = async (tab) => (await snippet(tab)).split('\n').filter((line) => line && !line.startsWith('#'));
  const [sub, pub] = await lines('Terminal');
  await shell(pub.replace('./rtbroker', BINARY));
  await shows(ada, 3);
  assert.equal((await shown(ada)).at(-1), 'hi');
  assert.match(await shell(`${sub.replace('./rtbroker', BINARY)} --since 0 --count 3`), /to the snippet/);

  const [post, history] = await lines('curl');
  if (await shell('command -v curl').catch(() => '')) {
    assert.match(await shell(post.replace('curl', 'curl -sS')), /"offset":4/);
    await last('hi');
    assert.match(await shell(history.replace('curl', 'curl -sS')), /to the snippet/);
  }

  // The configuration is all that this code wants of a broker, its recovery included.
  const configuration = await snippet('Configuration');
  assert.match(configuration, /recovery: 2m/);
  assert.match(configuration, /key: \$2\.id/);
  const other = await startBroker(t, { text: configuration });
  const there = runs(`${script.replace(shared.broker.url, other.url)}\nconsole.log("pid", typeof socket._pid);`);
  await until('it runs there', () => /: hi\n/.test(there.output) && /ok: true/.test(there.output) && /pid string/.test(there.output));
});
