// History over the HTTP API after a restart, when the log has what memory has not.
import assert from 'node:assert/strict';
import path from 'node:path';

import { EventReader } from './events.mjs';
import { assertByTime, startBroker, tempDir, test, until } from './harness.mjs';

const post = async (broker, method, body) => {
  const response = await fetch(`${broker.url}/api/${method}`, { method: 'POST', body: JSON.stringify(body) });
  return { status: response.status, ...(await response.json()) };
};

// The publications of a stream that begins at `since`, until there are `count`.
async function stream(broker, channel, since, count) {
  const leave = new AbortController();
  const response = await fetch(`${broker.url}/api/stream?channel=${channel}&since=${since}`, { signal: leave.signal });
  const publications = [];
  const events = new EventReader();
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    for (const { data } of events.push(chunk)) if (data) publications.push(JSON.parse(data));
    if (publications.length >= count) break;
  }
  leave.abort();
  return publications;
}

test('a subscriber that came back first does not hide what the log has from before the restart', async (t) => {
  const broker = await startBroker(t, { dev: true, set: { 'storage.path': path.join(tempDir(t), 'log.db') } });
  for (const data of [1, 2, 3]) await post(broker, 'publish', { channel: 'c', data });
  const before = await post(broker, 'history', { channel: 'c', limit: -1 });
  assert.deepEqual(before.result.publications.map((p) => p.data), [1, 2, 3]);
  await broker.kill();
  await broker.restart();
  assert.deepEqual((await stream(broker, 'c', 0, 3)).map((p) => p.data), [1, 2, 3]);
  // The stream's channel has its epoch now, but has seen no message.
  assert.deepEqual(await post(broker, 'history', { channel: 'c', limit: -1 }), before);
  assert.deepEqual((await post(broker, 'history', { channel: 'c', limit: 0 })).result.offset, 3);
  assert.deepEqual((await post(broker, 'history', { channel: 'c', limit: 1, reverse: true })).result.publications[0].data, 3);
  assert.deepEqual((await stream(broker, 'c', 1, 2)).map((p) => p.data), [2, 3]);
});

for (const stored of [false, true])
  test(`history by time, ${stored ? 'stored, also after a restart' : 'in memory'}`, async (t) => {
    const broker = await startBroker(t, { dev: true, set: stored ? { 'storage.path': path.join(tempDir(t), 'log.db') } : {} });
    const times = [];
    for (let i = 0; i < 20; i++) {
      if (i % 4 === 0) await until('the clock goes on', () => Date.now() > (times.at(-1) ?? 0));
      await post(broker, 'publish', { channel: 'c', data: i });
      times.push(Date.now());
    }
    const ask = async (body) => (await post(broker, 'history', { channel: 'c', ...body })).result;
    await assertByTime([ask]);
    if (!stored) return;
    await broker.kill();
    await broker.restart();
    await assertByTime([ask]);
    const both = await post(broker, 'history', { channel: 'c', since_time: 1, since: { offset: 0 } });
    assert.equal(both.status, 400);
    assert.match(both.message, /either `since` .* or `since_time`/);
  });
