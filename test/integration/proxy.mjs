// A TCP proxy in front of the broker that breaks connections the way networks do.
import net from 'node:net';

import { defer, once } from './harness.mjs';

const LOOKED_AT = 16384; // bytes of a question

export class Proxy {
  // `port`: of the broker, or a function that knows it once somebody connects.
  static async start(t, port) {
    const proxy = new Proxy();
    proxy.target = port;
    proxy.pairs = new Set();
    proxy.refusing = false;
    proxy.silent = false;
    proxy.swallowed = 0;
    proxy.server = net.createServer({ allowHalfOpen: true }, (client) => proxy.accept(client));
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    proxy.port = proxy.server.address().port;
    proxy.url = `http://127.0.0.1:${proxy.port}`;
    defer(t, () => {
      proxy.cut();
      proxy.server.close();
    });
    return proxy;
  }

  accept(client) {
    if (this.refusing) {
      client.destroy();
      return;
    }
    const broker = net.connect({ port: typeof this.target === 'function' ? this.target() : this.target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    client.setNoDelay(true);
    const pair = { client, broker, asked: Buffer.alloc(0), answered: true };
    this.pairs.add(pair);
    for (const [from, to] of [[client, broker], [broker, client]]) {
      from.on('data', (chunk) => {
        if (from === client && pair.answered) pair.asked = chunk;
        else if (from === client && pair.asked.length < LOOKED_AT) pair.asked = Buffer.concat([pair.asked, chunk]);
        else if (from === broker && this.swallows(pair)) return;
        pair.answered = from === broker;
        if (to.writable) to.write(chunk);
      });
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        if (!pair.abandoned) to.destroy();
        if (client.destroyed && broker.destroyed) this.pairs.delete(pair);
      });
      if (this.silent) from.pause();
    }
  }

  // The next answer to something that has this text in it is lost, and its connection with it: who asked cannot know what came of it.
  swallow(text) {
    this.swallowing = text;
  }

  swallows({ client, broker, asked }) {
    if (this.swallowing === undefined || !asked.includes(this.swallowing)) return false;
    this.swallowing = undefined;
    this.swallowed++;
    client.destroy();
    broker.destroy();
    return true;
  }

  // All connections end on both sides at once.
  cut() {
    for (const { client, broker } of this.pairs) {
      client.destroy();
      broker.destroy();
    }
  }

  // The client sees its connection end, the broker sees nothing.
  abandon() {
    for (const pair of this.pairs) {
      pair.abandoned = true;
      pair.client.destroy();
    }
  }

  // Nothing comes through in either direction, on old connections and new ones, and nobody is told: as when all packets are dropped. What was sent
  // meanwhile comes when it is over.
  hush(yes = true) {
    this.silent = yes;
    for (const { client, broker } of this.pairs) for (const socket of [client, broker]) yes ? socket.pause() : socket.resume();
  }

  // New connections are refused until further notice.
  refuse(yes = true) {
    this.refusing = yes;
    if (yes) this.cut();
  }
}
