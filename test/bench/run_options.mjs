// Options of the round runner. Wrong ones end the program with exit code 2.
import { parseArgs } from 'node:util';

const USAGE = `usage: node test/bench/run.mjs [options]     (make bench)
  --quick             two short rounds, 2,000 idle connections: about three minutes
  --only WHAT         fanout, idle or latency; may be repeated (all three)
  --servers LIST      of A,B,C,rtbroker,rtbroker-log,socket.io,ws (all)
  --protocols LIST    of sio,raw (both)
  --windows LIST      fanout: publishes outstanding (1,16,64)
  --subscribers N     (1000)
  --size N            bytes of a message (64)
  --rounds N          (5; latency 3)
  --time S            seconds of a measurement (2; latency 5)
  --rate N            latency: publishes a second (30)
  --connections N     idle (10000)
  --hold S            idle: seconds of pings (30)
  --rtbroker FILE     the broker (./rtbroker)
  --bin DIR           rtbench and floors (build/bench)
  --check             exit code 1 when a target is missed
Results go to DIR/results.json as well.`;

export function usageError(message) {
  console.error(message);
  process.exit(2);
}

function number(values, name, fallback) {
  const value = values[name] === undefined ? fallback : Number(values[name]);
  if (!(value > 0)) usageError(`--${name} ${values[name]}: want a number above 0`);
  return value;
}

function list(values, name, all) {
  const items = (values[name]?.join(',') ?? all.join(',')).split(',');
  for (const item of items) {
    if (!all.includes(item)) usageError(`--${name} ${item}: want some of ${all.join(',')}`);
  }
  return items;
}

function parse(argv) {
  const text = { type: 'string' };
  const texts = { type: 'string', multiple: true };
  const flag = { type: 'boolean', default: false };
  const options = {
    quick: flag, check: flag, help: flag, only: texts, servers: texts, protocols: texts, windows: texts,
    subscribers: text, size: text, rounds: text, time: text, rate: text, connections: text, hold: text,
    rtbroker: text, bin: text,
  };
  try {
    return parseArgs({ args: argv, options }).values;
  } catch (error) {
    return usageError(`${error.message}\n${USAGE}`);
  }
}

export function readOptions(argv) {
  const values = parse(argv);
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const quick = values.quick;
  const windows = (values.windows?.join(',') ?? (quick ? '1,64' : '1,16,64')).split(',').map(Number);
  if (!windows.every((w) => Number.isInteger(w) && w > 0)) usageError('--windows: want whole numbers above 0');
  return {
    quick,
    check: values.check,
    only: list(values, 'only', ['fanout', 'idle', 'latency']),
    servers: list(values, 'servers', ['A', 'B', 'C', 'rtbroker', 'rtbroker-log', 'socket.io', 'ws']),
    protocols: list(values, 'protocols', ['sio', 'raw']),
    windows,
    subscribers: number(values, 'subscribers', 1000),
    size: number(values, 'size', 64),
    rounds: number(values, 'rounds', quick ? 2 : 5),
    latencyRounds: number(values, 'rounds', quick ? 1 : 3),
    time: number(values, 'time', quick ? 1 : 2),
    latencyTime: number(values, 'time', quick ? 2 : 5),
    warmup: quick ? 0.4 : 0.7,
    gapTime: quick ? 1 : 2,
    rate: number(values, 'rate', 30),
    connections: number(values, 'connections', quick ? 2000 : 10000),
    hold: number(values, 'hold', quick ? 3 : 30),
    rtbroker: values.rtbroker ?? './rtbroker',
    bin: values.bin ?? 'build/bench',
  };
}
