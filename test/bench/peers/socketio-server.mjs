// The classic chat on Node, as peer: an event `event:message` with {message} goes to everybody, the sender included, as event
// `message` with the JSON text. WebSocket only and without compression, which is Socket.IO at its fastest.
// Prints `port N` when it listens. PORT=0 takes a free port.
import http from 'node:http';
import { Server } from 'socket.io';

const server = http.createServer();
const io = new Server(server, { transports: ['websocket'], perMessageDeflate: false, serveClient: false });

io.on('connection', (socket) => {
  socket.on('event:message', ({ message }) => {
    io.emit('message', JSON.stringify({ message }));
  });
});

server.listen({ port: Number(process.env.PORT ?? 0), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`port ${server.address().port}`);
});
