// The rolling restart of test/chaos, a short one: three nodes behind nginx, restarted one after the other under load. And its ledger, which has to find what
// is planted.
import assert from 'node:assert/strict';

import { Everybody, Own, Peak } from '../chaos/ledger.mjs';
import { Rolling } from '../chaos/rolling.mjs';
import { test } from './harness.mjs';

const reader = () => ({ next: 0, own: 0, told: 0 });

// What the ledger says of readers that got these, in turn; all of `order` was acknowledged.
function heard(order, ...got) {
  const ledger = new Everybody();
  const readers = got.map(reader);
  got.forEach((list, i) => list.forEach((id) => ledger.receive(readers[i], id)));
  return ledger.judge(readers, order.map((id, i) => ({ id, offset: 10 * (i + 1) })));
}

test('rolling: the ledger finds what everybody did not get, got twice or in another order', () => {
  const all = ['a', 'b', 'c', 'd'];
  assert.deepEqual(heard(all, all, all), []);
  for (const [what, first, second, expected] of [
    ['one lost', all, ['a', 'b', 'd'], /^lost: 1, of them 0/],
    ['one lost by the first, whose order counts', ['a', 'b', 'd'], all, /^lost: 2/],
    ['the end lost', all, ['a', 'b'], /^lost: 2, of them 2 at the end/],
    ['twice', all, ['a', 'b', 'b', 'c', 'd'], /^twice.*: 1/],
    ['again later', all, [...all, 'a'], /^twice.*: 1/],
    ['swapped', all, ['a', 'c', 'b', 'd'], /^lost: 1/],
    ['all in another order', ['a', 'c', 'b', 'd'], ['a', 'c', 'b', 'd'], /^another order/],
    ['lost by all', ['a', 'b', 'd'], ['a', 'b', 'd'], /^acknowledged and received by nobody: 1/],
    ['never acknowledged', [...all, 'e'], [...all, 'e'], /^received and not acknowledged: 1/],
  ]) {
    const problems = heard(all, first, second);
    assert.match(problems[0] ?? '', expected, what);
  }
});

test('rolling: the ledger of what clients tell themselves, and the fullest second', () => {
  for (const [got, told, expected] of [
    [[1, 2, 3], 3, []],
    [[1, 3], 3, ['lost of clients\' own: 1, of them 0 at the end']],
    [[1, 2], 3, ['lost of clients\' own: 1, of them 1 at the end']],
    [[1, 2, 2, 3], 3, ['clients\' own twice: 1']],
  ]) {
    const own = new Own();
    const one = { ...reader(), told };
    got.forEach((number) => own.receive(one, number));
    assert.deepEqual(own.judge([one]), expected);
  }
  const peak = new Peak();
  for (const now of [0, 900, 2000, 2150, 2950, 3100, 9000]) peak.count(now);
  assert.equal(peak.most(0, 10_000), 3);
  assert.equal(peak.most(5000, 10_000), 1);
});

test('rolling: 300 clients, three nodes restarted under load: nothing lost, nothing twice, all come back with their sessions', { timeout: 300_000 }, async (t) => {
  const story = [];
  // How quickly they are back, and how evenly, is for the long run on a quiet machine: here it is told only.
  const timed = (text) => /was back after|handshakes in one second/.test(text);
  const rolling = new Rolling({ clients: 300, witnesses: 12, rate: 10, own: 4, jitter: 3, seed: 1 + Math.floor(Math.random() * 1e6), log: (text) => story.push(text) });
  try {
    const { problems, moved } = await rolling.run(t);
    assert.deepEqual(problems.filter((text) => !timed(text)), []);
    problems.filter(timed).forEach((text) => t.diagnostic(text));
    assert.ok(moved > 300, `${moved} clients had to move`);
    assert.ok(rolling.received > 300 * 100);
  } catch (error) {
    error.message += `\nseed ${rolling.seed}\n${story.join('\n')}`;
    throw error;
  }
});
