// The routes by hand, since the http module has no router.  sendDate is documented; none of the fastest
// Python servers is asked for Date where it can be told not to send it.
const http = require("http");

const TEN_K = Buffer.alloc(10240, "x"), ONE_M = Buffer.alloc(1048576, "x");

function answer(response, type, body) {
  response.sendDate = false;
  response.writeHead(200, {"Content-Type": type, "Content-Length": Buffer.byteLength(body)});
  response.end(body);
}

const routes = {
  "/": (request, response) => answer(response, "text/plain", "Hello world!"),
  "/json": (request, response) =>
    answer(response, "application/json", JSON.stringify({message: "Hello world!"})),
  "/echo": (request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => answer(response, "application/octet-stream", Buffer.concat(pieces)));
  },
  "/later": (request, response) => setImmediate(() => answer(response, "text/plain", "Hello world!")),
  "/10k": (request, response) => answer(response, "text/plain", TEN_K),
  "/1m": (request, response) => answer(response, "text/plain", ONE_M),
  "/upload": (request, response) => {
    let received = 0;
    request.on("data", (piece) => { received += piece.length; });
    request.on("end", () => answer(response, "text/plain", String(received)));
  },
};

const server = http.createServer((request, response) => {
  const handler = routes[request.url];
  if (handler) handler(request, response);
  else answer(response, "text/plain", "Hello " + request.url.slice("/users/".length));
});
server.keepAliveTimeout = server.requestTimeout = server.headersTimeout = 0;
server.listen({host: "127.0.0.1", port: Number(process.argv[2]), backlog: 1024});
