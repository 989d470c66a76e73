// A fan-out server of the usual kind: one upstream subscription per path, a ring of 50 events, a loop over `res.write`.
import http from 'node:http';

const [port, upstream] = process.argv.slice(2);
const RING_EVENTS = 50;
const sessions = new Map();

function subscribe(path) {
  const session = { ring: [], clients: new Set() };
  sessions.set(path, session);
  http.get(upstream + path, { headers: { accept: 'text/event-stream' } }, (answer) => {
    answer.setEncoding('utf8');
    let pending = '';
    answer.on('data', (text) => {
      pending += text;
      let end;
      while ((end = pending.indexOf('\n\n')) !== -1) {
        const chunk = pending.slice(0, end + 2);
        pending = pending.slice(end + 2);
        const id = /^id: (.*)$/m.exec(chunk)?.[1];
        session.ring.push({ id, chunk });
        if (session.ring.length > RING_EVENTS) session.ring.shift();
        for (const res of session.clients) res.write(chunk);
      }
    });
  });
  return session;
}

const server = http.createServer((req, res) => {
  const session = sessions.get(req.url) ?? subscribe(req.url);
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  res.flushHeaders();
  const last = req.headers['last-event-id'];
  if (last !== undefined) {
    const at = session.ring.findIndex((event) => event.id === last);
    for (const event of session.ring.slice(at + 1)) res.write(event.chunk);
  }
  session.clients.add(res);
  res.on('close', () => session.clients.delete(res));
});
server.requestTimeout = 0;
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
