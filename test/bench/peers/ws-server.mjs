// A plain WebSocket broadcast on Node, as peer of raw endpoints: what a client sends goes to every client.
// Prints `port N` when it listens. PORT=0 takes a free port.
import { WebSocketServer } from 'ws';

const options = { port: Number(process.env.PORT ?? 0), host: '127.0.0.1', backlog: 4096, perMessageDeflate: false };
const server = new WebSocketServer(options);

server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => {
    for (const client of server.clients) client.send(data, { binary: isBinary });
  });
});

server.on('listening', () => console.log(`port ${server.address().port}`));
