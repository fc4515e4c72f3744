// A checker that has never found anything proves nothing: a small correct set of logs, and each kind of fault planted into it, which check.mjs has to find,
// as what it is and in the file where it was planted.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { EpochFold } from './collect.mjs';

const CHANNELS = ['chaos:c000', 'chaos:c001', 'chaos:c002'];
const MESSAGES = 40; // of each channel

const hashOf = (key) => createHash('md5').update(key).digest('hex');

function message(channel, number, offset) {
  const key = `${channel.slice(6)}-${number}`;
  return { channel, epoch: 'AAAAAAAAAA.0', offset, tag: `id-${key}`, key, hash: hashOf(key) };
}

// Logs of a run in which all went well: repetitions in Kafka, one answer that named none, one the position of a repetition, and a message that was never
// acknowledged (stored all the same) are part of that.
export function correct() {
  const logs = { published: [], 'sub-1': [], 'sub-2': [], kafka: [], postgres: [], repeats: [] };
  let offset = 1; // 0 + 1 is a marker
  for (let number = 1; number <= MESSAGES; number++)
    for (const channel of CHANNELS) {
      const m = message(channel, number, ++offset);
      for (const name of ['sub-1', 'sub-2', 'kafka', 'postgres']) logs[name].push({ ...m });
      logs.published.push({ ...m, tag: 'new' });
      if (number % 10 !== 5) continue;
      logs.kafka.push({ ...m, offset: ++offset, tag: `id-again-${m.key}` });
      logs.repeats.push({ ...logs.kafka.at(-1), hash: String(m.offset) });
      const acknowledged = logs.published.at(-1);
      acknowledged.tag = 'dup';
      if (channel === CHANNELS[1]) acknowledged.offset = offset;
      if (channel === CHANNELS[2]) acknowledged.offset = 0;
    }
  Object.assign(logs.published.at(-1), { tag: 'open', epoch: '-', offset: 0 });
  return { logs, run: { acked: CHANNELS.length * MESSAGES - 1, open: 1, subscribers: ['1', '2'], postgres: true }, problems: [] };
}

// Index of the message `number` of the middle channel.
const find = (log, number) => log.findIndex((r) => r.channel === CHANNELS[1] && r.key.endsWith(`-${number}`));

const remove = (log, number) => log.splice(find(log, number), 1);
const again = (log, number, before = number + 3) => log.splice(find(log, before), 0, { ...log[find(log, number)] });
const replace = (log, number, values) => Object.assign(log[find(log, number)], values);
const foreign = (log, number) => log.splice(find(log, number), 0, { ...log[find(log, number)], ...message(CHANNELS[1], 999, log[find(log, number)].offset - 0.5) });

// As they were sent in another order, each with its own position.
function swapLines(log, number) {
  const [a, b] = [find(log, number), find(log, number + 1)];
  [log[a], log[b]] = [log[b], log[a]];
}

// Two messages that are at each other's positions.
function swapPositions(log, number) {
  swapLines(log, number);
  const [a, b] = [find(log, number), find(log, number + 1)];
  [log[a].offset, log[b].offset] = [log[b].offset, log[a].offset];
}

const GAP = { channel: CHANNELS[1], epoch: 'gap', offset: 'x', tag: '-', key: '-', hash: '-' };
const isLate = (r) => /-(2[1-9]|3\d|40)$/.test(r.key); // of the second half

// Logs of a run whose operator gave the log another epoch after half of the messages: subscribers were told of a gap, one has missed two messages there.
export function operated() {
  const it = correct();
  it.run.operated = true;
  for (const log of Object.values(it.logs))
    for (const r of log) if (isLate(r) && r.epoch !== '-') Object.assign(r, { epoch: 'BBBBBBBBBB.0', offset: r.offset && r.offset - 60 });
  for (const r of it.logs.repeats) if (isLate(r)) r.hash = String(r.hash - 60);
  for (const name of ['sub-1', 'sub-2'])
    for (const channel of CHANNELS) {
      const log = it.logs[name];
      log.splice(log.findIndex((r) => r.channel === channel && isLate(r)), 0, { ...GAP, channel });
    }
  remove(it.logs['sub-2'], 21);
  remove(it.logs['sub-2'], 22);
  it.logs.kafka.sort((a, b) => (a.epoch < b.epoch ? 1 : a.epoch > b.epoch ? -1 : 0)); // partitions are read in no order
  it.changes = ['partition 0: another incarnation'];
  return it;
}

// As FAULTS, of such logs.
export const OPERATED_FAULTS = [
  ['missing before the gap', (it) => remove(it.logs['sub-1'], 7), 'missing', 'sub-1'],
  ['missing behind the gap', (it) => remove(it.logs['sub-1'], 30), 'missing', 'sub-1'],
  ['missing at a change that nobody told of', (it) => (it.logs['sub-2'] = it.logs['sub-2'].filter((r) => r.epoch !== 'gap')), 'missing', 'sub-2'],
  ['PostgreSQL misses one at the change', (it) => remove(it.logs.postgres, 21), 'missing', 'postgres'],
  ['a gap within an epoch', (it) => it.logs['sub-1'].splice(find(it.logs['sub-1'], 30), 0, GAP), 'gap', 'sub-1'],
  ['one comes again behind the change', (it) => again(it.logs['sub-1'], 20, 23), 'twice', 'sub-1'],
  ['stored again behind the change', (it) => it.logs.postgres.splice(find(it.logs.postgres, 23), 0, { ...it.logs.postgres[find(it.logs.postgres, 20)], epoch: 'BBBBBBBBBB.0', offset: 99 }), 'foreign', 'postgres'],
  ['acknowledged, nowhere', (it) => everywhere(it, (log) => remove(log, 26)), 'lost', CHANNELS[1]],
  ['two are swapped', (it) => swapLines(it.logs['sub-1'], 26), 'order', 'sub-1'],
];

const positionOf = (log, number) => ({ offset: log[find(log, number)].offset });
const elsewhere = (log, number) => Object.assign(log[find(log, number)], { channel: CHANNELS[2] });

function everywhere(it, change, names = ['kafka', 'sub-1', 'sub-2', 'postgres']) {
  for (const name of names) change(it.logs[name]);
}

// [what, change, kind that has to be found, file that the finding has to name]
const FOLLOWERS = ['sub-1', 'sub-2', 'postgres'].flatMap((name) => [
  ['one is missing', (it) => remove(it.logs[name], 7), 'missing', name],
  ['the last is missing', (it) => remove(it.logs[name], MESSAGES), 'missing', name],
  ['a whole channel is missing', (it) => (it.logs[name] = it.logs[name].filter((r) => r.channel !== CHANNELS[2])), 'missing', name],
  ['nothing at all', (it) => (it.logs[name] = []), 'missing', name],
  ['one comes twice', (it) => again(it.logs[name], 7), 'twice', name],
  ['a repetition comes too', (it) => again(it.logs[name], 15), 'twice', name],
  ['two are swapped', (it) => swapLines(it.logs[name], 7), 'order', name],
  ['two are swapped, positions rise', (it) => swapPositions(it.logs[name], 7), 'order', name],
  ['a message that the log has not', (it) => foreign(it.logs[name], 7), 'foreign', name],
  ['a message of another channel', (it) => elsewhere(it.logs[name], 7), 'foreign', name],
  ['a position is used again', (it) => replace(it.logs[name], 8, positionOf(it.logs[name], 7)), 'position', name],
  ['another position', (it) => replace(it.logs[name], 7, { offset: positionOf(it.logs[name], 7).offset + 1 }), 'position', name],
  ['another epoch', (it) => replace(it.logs[name], 7, { epoch: 'BBBBBBBBBB.0' }), 'position', name],
  ['another payload', (it) => replace(it.logs[name], 7, { hash: hashOf('?') }), 'content', name],
  ['another id', (it) => replace(it.logs[name], 7, { tag: 'id-?' }), 'content', name],
  ['the repetition in place of the first', (it) => replace(it.logs[name], 15, { tag: 'id-again-c001-15' }), 'content', name],
]);

export const FAULTS = [
  ...FOLLOWERS,
  ['acknowledged, nowhere', (it) => everywhere(it, (log) => remove(log, 7)), 'lost', CHANNELS[1]],
  ['acknowledged, the last, nowhere', (it) => everywhere(it, (log) => remove(log, MESSAGES)), 'lost', CHANNELS[1]],
  ['acknowledged, only Kafka has not', (it) => remove(it.logs.kafka, 7), 'lost', CHANNELS[1]],
  ['delivered, only Kafka has not', (it) => remove(it.logs.kafka, 7), 'foreign', 'sub-1'],
  ['nobody sent it, all have it', (it) => everywhere(it, (log) => foreign(log, 7)), 'foreign', 'kafka'],
  ['all have another order than the publisher', (it) => everywhere(it, (log) => swapPositions(log, 7)), 'order', 'kafka'],
  ['all have another payload than the publisher', (it) => everywhere(it, (log) => replace(log, 7, { hash: hashOf('?') })), 'content', 'kafka'],
  ['a repetition with another payload', (it) => (it.logs.kafka.find((r) => r.tag === 'id-again-c001-15').hash = hashOf('?')), 'content', 'kafka'],
  ['Kafka has a position twice', (it) => replace(it.logs.kafka, 8, positionOf(it.logs.kafka, 7)), 'position', 'kafka'],
  ['a channel in two incarnations', (it) => replace(it.logs.kafka, 7, { epoch: 'BBBBBBBBBB.0' }), 'records', CHANNELS[1]],
  ['a repetition is not in the store\'s list', (it) => remove(it.logs.repeats, 15), 'missing', 'repeats'],
  ['a repetition is in the store\'s list twice', (it) => again(it.logs.repeats, 15, 25), 'twice', 'repeats'],
  ['the store took for a repetition what was none', (it) => it.logs.repeats.push({ ...it.logs.kafka[find(it.logs.kafka, 7)], hash: '1' }), 'foreign', 'repeats'],
  ['a repetition of another record', (it) => replace(it.logs.repeats, 15, { hash: '1' }), 'position', 'repeats'],
  ['a repetition with another id', (it) => replace(it.logs.repeats, 15, { tag: 'id-?' }), 'content', 'repeats'],
  ['acknowledged at another position', (it) => replace(it.logs.published, 7, { offset: 1 }), 'position', CHANNELS[1]],
  ['two acknowledged at one position', (it) => replace(it.logs.published, 8, positionOf(it.logs.published, 7)), 'position', CHANNELS[1]],
  ['acknowledged in another epoch', (it) => replace(it.logs.published, 7, { epoch: 'BBBBBBBBBB.0' }), 'position', CHANNELS[1]],
  ['acknowledged twice', (it) => again(it.logs.published, 7), 'twice', 'published'],
  ['a subscriber was told of a gap', (it) => it.logs['sub-2'].splice(50, 0, GAP), 'gap', 'sub-2'],
  ['the publishers\' log has an end missing', (it) => it.logs.published.splice(-6, 3), 'records', 'acknowledged'],
  ['nothing was published', (it) => Object.assign(it, { ...correct(), logs: { published: [], 'sub-1': [], 'sub-2': [], kafka: [], postgres: [], repeats: [] }, run: { ...it.run, acked: 0, open: 0 } }), 'records', 'nothing'],
  ['nobody subscribed', (it) => (it.run.subscribers = []), 'records', 'nobody'],
  ['Kafka\'s offsets have a hole', (it) => (it.changes = ['partition 0: offset 3 where 2 should be']), 'records', 'partition 0'],
];

export function write(dir, { logs, run, problems, changes }) {
  mkdirSync(dir, { recursive: true });
  const line = (r) => [r.channel, r.epoch, r.offset, r.tag, r.key, r.hash].join('\t') + '\n';
  for (const [name, records] of Object.entries(logs)) writeFileSync(path.join(dir, name), records.map(line).join(''));
  writeFileSync(path.join(dir, 'run.json'), JSON.stringify(run));
  writeFileSync(path.join(dir, 'kafka.json'), JSON.stringify({ problems, changes }));
}

// Evidence of records in order, the name after each, and whether another incarnation was found: the rule of src/journal/kafka_epoch.h.
export const FOLDS = [
  ['one name', [['AAAAAAAAAA@0', 'AAAAAAAAAA', false], ['AAAAAAAAAA@1', 'AAAAAAAAAA', false]]],
  ['two made one up at a time: the first counts', [['AAAAAAAAAA@0', 'AAAAAAAAAA', false], ['BBBBBBBBBB@0', 'AAAAAAAAAA', false]]],
  ['records without evidence', [[undefined, '', false], ['?', '', false], ['AAAAAAAAAA@0', 'AAAAAAAAAA', false], ['AAAAAAAAA@9', 'AAAAAAAAAA', false]]],
  ['one who had read ours says another', [['AAAAAAAAAA@0', 'AAAAAAAAAA', false], ['BBBBBBBBBB@1', 'BBBBBBBBBB', true]]],
  ['ours had read more than there is', [['AAAAAAAAAA@0', 'AAAAAAAAAA', false], ['AAAAAAAAAA@7', 'AAAAAAAAAA', true]]],
  ['another had read more than there is', [['AAAAAAAAAA@0', 'AAAAAAAAAA', false], ['BBBBBBBBBB@7', 'AAAAAAAAAA', false]]],
];

export function folded(evidence) {
  const fold = new EpochFold();
  return evidence.map(([text], i) => {
    const changed = fold.read(text, i + 1);
    return [text, fold.name, changed];
  });
}
