// The chaos run of test/chaos, a short one; and its checker, which has to find what is planted.
import assert from 'node:assert/strict';
import path from 'node:path';

import { check, describe } from '../chaos/check.mjs';
import { Chaos } from '../chaos/run.mjs';
import { FAULTS, FOLDS, OPERATED_FAULTS, correct, folded, operated, write } from '../chaos/selftest.mjs';
import { plan } from '../chaos/faults.mjs';
import { ours, tempDir, test } from './harness.mjs';

test('chaos: the checker finds nothing in logs that are right', async (t) => {
  const dir = tempDir(t);
  write(dir, correct());
  const verdict = await check(dir);
  assert.ok(verdict.ok, describe(verdict));
  assert.equal(verdict.counts.acknowledged, 119);
  assert.equal(verdict.counts.records, 132);
  assert.equal(verdict.counts.repeats, 12);
  assert.equal(verdict.counts.postgres, 120);
});

test('chaos: an epoch that an operator changed is no fault, a gap that was told there neither', async (t) => {
  const dir = tempDir(t);
  write(dir, operated());
  const verdict = await check(dir);
  assert.ok(verdict.ok, describe(verdict));
  assert.equal(verdict.counts['sub-1 missed and knows'], undefined);
  assert.equal(verdict.counts['sub-2 missed and knows'], 2);
  assert.equal(verdict.counts['sub-2 gaps'], 3);
});

test('chaos: the checker finds each fault that is planted, as what it is and where', async (t) => {
  const top = tempDir(t);
  const all = [...FAULTS.map((fault) => [correct, ...fault]), ...OPERATED_FAULTS.map((fault) => [operated, ...fault])];
  for (const [i, [make, what, plant, kind, where]] of all.entries()) {
    const it = make();
    plant(it);
    const dir = path.join(top, String(i));
    write(dir, it);
    const verdict = await check(dir);
    assert.ok(verdict.problems.some((text) => text.startsWith(`${kind}: `) && text.includes(where)), `${what} (${where}): expected ${kind}, found\n${describe(verdict)}`);
  }
});

test('chaos: the collector names incarnations by the rule', () => {
  for (const [what, records] of FOLDS) assert.deepEqual(folded(records), records, what);
});

test('chaos: a seed gives one plan, with every kind of part, in order', () => {
  const options = { publishes: 1000, kills: 20, pauses: 5, nodes: 3, services: ['redis', 'kafka', 'postgres'] };
  assert.deepEqual(plan({ ...options, seed: 7 }), plan({ ...options, seed: 7 }));
  assert.notDeepEqual(plan({ ...options, seed: 7 }), plan({ ...options, seed: 8 }));
  for (let seed = 1; seed <= 50; seed++) {
    const groups = plan({ ...options, seed });
    const faults = groups.flatMap((group) => group.faults);
    assert.equal(faults.filter((f) => f.how === 'kill').length, 20);
    assert.equal(faults.length, 25);
    for (const part of ['redis', 'kafka', 'postgres']) assert.ok(faults.some((f) => f.how === 'kill' && f.part === part), `seed ${seed} kills no ${part}`);
    for (const group of groups) assert.equal(new Set(group.faults.map((f) => f.part)).size, group.faults.length, 'no part twice at a time');
    assert.ok(groups.every((group, i) => group.at < 1000 && (i === 0 || group.at >= groups[i - 1].at)));
  }
});

test('chaos: 5,000 publishes through kills of a node, Redis, Kafka and PostgreSQL', { ...ours, timeout: 400_000 }, async (t) => {
  const story = [];
  const options = { dir: tempDir(t), publishes: 5000, kills: 4, pauses: 1, rate: 200, channels: 32, seed: 1 + Math.floor(Math.random() * 1e6), longest: 2000 };
  try {
    const verdict = await new Chaos({ ...options, log: (text) => story.push(text) }).run(t);
    assert.ok(verdict.ok, describe(verdict));
    assert.equal(verdict.counts.acknowledged, 5000);
    for (const name of ['sub-1', 'sub-2', 'postgres']) assert.equal(verdict.counts[name], 5000, name);
  } catch (error) {
    error.message += `\n${story.join('\n')}`;
    throw error;
  }
});
