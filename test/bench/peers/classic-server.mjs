// The classic chat stack as one program, as peer of a cluster: Socket.IO in front; Redis pub/sub takes each message to every server, and each of them to its clients;
// the server that got it also produces it to Kafka, without waiting; a consumer in every server (one group) inserts one row a message into PostgreSQL.
// Start any number of them with the same services. Prints `port N` when it listens and its consumer runs. PORT=0 takes a free port.
//
//   PORT=0 REDIS_URL=redis://.. KAFKA=HOST:PORT PG_URL=postgresql://.. PARTITIONS=16 node classic-server.mjs
import http from 'node:http';
import Redis from 'ioredis';
import { Kafka, Partitioners, logLevel } from 'kafkajs';
import pg from 'pg';
import { Server } from 'socket.io';

const TOPIC = 'classic-messages';
const CHANNEL = 'classic-messages';
const TABLE = 'create table if not exists classic_message (id bigserial primary key, text text not null, created_at timestamptz not null default now())';
const INSERT = 'insert into classic_message (text) values ($1)';

const { REDIS_URL, KAFKA, PG_URL, PORT = '0', PARTITIONS = '1' } = process.env;
const kafka = new Kafka({ brokers: [KAFKA], logLevel: logLevel.NOTHING });
const database = new pg.Pool({ connectionString: PG_URL });
const publisher = new Redis(REDIS_URL, { lazyConnect: true });
const subscriber = new Redis(REDIS_URL, { lazyConnect: true });
const server = http.createServer();
const io = new Server(server, { transports: ['websocket'], perMessageDeflate: false, serveClient: false });

async function startProducer() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: TOPIC, numPartitions: Number(PARTITIONS) }], waitForLeaders: true });
  await admin.disconnect();
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  return producer;
}

async function startConsumer() {
  const consumer = kafka.consumer({ groupId: 'classic' });
  await consumer.connect();
  await consumer.subscribe({ topic: TOPIC, fromBeginning: true });
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
  await consumer.run({
    eachMessage: async ({ message }) => {
      await database.query(INSERT, [message.value.toString()]);
    },
  });
  await joined;
}

await database.query(TABLE);
await Promise.all([publisher.connect(), subscriber.connect()]); // ready, before anything is asked
await subscriber.subscribe(CHANNEL);
subscriber.on('message', (_, text) => io.emit('message', text));
const producer = await startProducer();
await startConsumer();

io.on('connection', (socket) => {
  socket.on('event:message', async ({ message }) => {
    const text = JSON.stringify({ message });
    await publisher.publish(CHANNEL, text);
    producer.send({ topic: TOPIC, messages: [{ key: socket.id, value: text }] }).catch((error) => console.error(`not produced: ${error.message}`));
  });
});

server.listen({ port: Number(PORT), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`port ${server.address().port}`);
});
