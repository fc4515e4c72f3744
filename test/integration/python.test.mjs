// python-socketio over both transports: Debian's packages python3-socketio, python3-requests and python3-websocket, or whatever
// RT_PYTHON (an interpreter) has.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';

import { HERE, configPath, defer, startBroker, test, until, within } from './harness.mjs';

const IMPORTS = 'import socketio, requests, websocket';
const candidates = process.env.RT_PYTHON ? [process.env.RT_PYTHON] : ['python3', '/usr/bin/python3'];
const python = candidates.find((p) => spawnSync(p, ['-c', IMPORTS]).status === 0);
const skip = !python && `no Python here can "${IMPORTS}": install python3-socketio, python3-requests, python3-websocket`;

for (const transport of ['polling', 'websocket']) {
  test(`python-socketio over ${transport}`, { skip }, async (t) => {
    const broker = await startBroker(t, { config: configPath('socketio.yaml') });
    const child = spawn(python, [path.join(HERE, 'python_client.py'), broker.url, transport], { stdio: ['pipe', 'pipe', 'pipe'] });
    defer(t, () => child.kill('SIGKILL'));
    const said = [];
    let rest = '';
    let errors = '';
    child.stdout.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      said.push(...lines.map((line) => JSON.parse(line)));
    });
    child.stderr.on('data', (chunk) => (errors += chunk));
    const ended = new Promise((resolve) => child.on('close', resolve));
    const heard = async (what, n = 1) => {
      await until(`${n} times "${what}"`, () => said.filter((s) => s.what === what).length >= n || child.exitCode !== null, 20_000);
      const found = said.filter((s) => s.what === what)[n - 1];
      assert.ok(found, `the client ended: ${errors}`);
      return found;
    };

    const first = await heard('transport');
    assert.equal(first.transport, transport);
    assert.deepEqual(first.auth, [{ token: 'python' }]);
    assert.equal(first.ids, true, 'an id for each namespace');
    assert.deepEqual((await heard('back')).args, [1, 'é漢😀', { deep: [null, true, 1.5] }, '0001ff']);
    assert.deepEqual(await heard('ack'), { what: 'ack', value: { n: 1 }, two: [1, 2] });
    assert.deepEqual((await heard('constants')).value, [false, 0, 'text', null, '010203', { list: [1, { two: 2 }] }]);
    assert.deepEqual((await heard('said')).args, ['to the room']);
    assert.deepEqual((await heard('custom')).args, ['custom']);
    assert.deepEqual(await heard('asked'), { what: 'asked', right: [42], wrong: [{ no: 1 }] });
    assert.equal((await heard('burst')).ordered, true);

    // A drain must look like a lost connection: packet `1` would be final for this client.
    await heard('ready');
    await broker.stop();
    await broker.restart();
    await heard('connect', 2);
    child.stdin.write('call\n');
    assert.equal((await heard('again')).value, 'again');
    child.stdin.write('end\n');
    await heard('end');
    assert.equal(await within(10_000, 'the client ends', ended), 0, errors);
  });
}
