// compose.yaml gives the nodes nothing but variables: what they say has to be a configuration.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BINARY, ROOT } from './harness.mjs';

const compose = readFileSync(`${ROOT}/compose.yaml`, 'utf8');

// "NAME: value" lines below `key:`, with the defaults of ${X:-default} put in.
function variablesBelow(key) {
  const lines = compose.split('\n');
  const found = {};
  let at = lines.findIndex((line) => line.trim().startsWith(`${key}:`));
  assert.ok(at >= 0, key);
  for (at++; at < lines.length && /^\s/.test(lines[at]) && !/^ {0,2}\w[\w-]*:$/.test(lines[at]); at++) {
    const match = /^\s+(RTBROKER_\w+): (.*)$/.exec(lines[at]);
    if (match) found[match[1]] = match[2].replace(/^'(.*)'$/, '$1').replace(/\$\{\w+:-([^}]*)\}/g, '$1');
  }
  return found;
}

const check = (variables) =>
  spawnSync(BINARY, ['check', '--config', `${ROOT}/docs/examples/chat.yaml`], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...variables },
  });

test('the variables of compose.yaml are a configuration', () => {
  const common = variablesBelow('x-environment');
  assert.ok(Object.keys(common).length >= 4, JSON.stringify(common));
  for (const node of ['n1', 'n2', 'n3']) {
    const own = variablesBelow(node);
    assert.equal(own.RTBROKER_NODE_NAME, node);
    const { status, stdout, stderr } = check({ ...common, ...own });
    assert.equal(status, 0, stdout + stderr);
    assert.equal(stderr, '', 'no warnings');
  }
  assert.equal(check({ ...common, RTBROKER_KAFKA_BROKERS: 'kafka/9092' }).status, 2);
});
