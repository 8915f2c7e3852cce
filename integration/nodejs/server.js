// The Node.js server of the tests: timers, a worker thread, the thread pool, a child process, an open file.
//
//     node server.js DIRECTORY
//
// GET /state answers with a line of JSON.  A second connection is kept by the server's own client.
"use strict";
const { Worker, isMainThread, parentPort } = require("worker_threads");

if (!isMainThread) {
    let sum = 0;
    parentPort.on("message", (number) => {
        sum += number;
        parentPort.postMessage(sum);
    });
    return;
}

const { spawn } = require("child_process");
const crypto = require("crypto");
const fs = require("fs");
const http = require("http");

process.chdir(process.argv[2]);
const state = { ticks: 0, worker: 0, hashes: 0, echoes: 0, requests: 0, wrong: [] };
const log = fs.createWriteStream("log", { flags: "a" });

function check(right, what) {
    if (!right) state.wrong.push(what);
}

// a worker thread adds numbers up
const worker = new Worker(__filename, { argv: process.argv.slice(2) });
let sent = 0;
function feed() {
    sent += 1;
    worker.postMessage(sent);
}
worker.on("message", (sum) => {
    check(sum === (sent * (sent + 1)) / 2, `the worker says ${sum} after ${sent}`);
    state.worker += 1;
    setTimeout(feed, 2);
});
feed();

// the thread pool hashes
const right = crypto.pbkdf2Sync("frog", "salt", 500, 32, "sha256").toString("hex");
function hash() {
    crypto.pbkdf2("frog", "salt", 500, 32, "sha256", (error, key) => {
        check(!error && key.toString("hex") === right, `a hash: ${error}`);
        state.hashes += 1;
        setTimeout(hash, 2);
    });
}
hash();

// a child process echoes
const child = spawn("cat");
let echoed = "";
child.stdout.on("data", (data) => {
    echoed += data;
    while (echoed.includes("\n")) {
        const line = echoed.slice(0, echoed.indexOf("\n"));
        echoed = echoed.slice(line.length + 1);
        check(line === `line ${state.echoes}`, `the child says ${line} for line ${state.echoes}`);
        state.echoes += 1;
        child.stdin.write(`line ${state.echoes}\n`);
    }
});
child.on("exit", (code, signal) => check(false, `the child ended: ${code} ${signal}`));
child.stdin.write("line 0\n");

setInterval(() => {
    state.ticks += 1;
    log.write(`${state.ticks}\n`);
}, 5);

const server = http.createServer((request, response) => {
    state.requests += 1;
    response.end(JSON.stringify({ ...state, port: request.socket.remotePort, pid: process.pid }) + "\n");
});
server.keepAliveTimeout = 3600 * 1000;

// a connection of our own that is kept
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
let port = 0;
state.kept = 0;
function talk() {
    const request = http.get({ port: 8080, host: "127.0.0.1", agent }, (response) => {
        let text = "";
        response.on("data", (data) => (text += data));
        response.on("end", () => {
            const found = JSON.parse(text).port;
            check(port === 0 || found === port, `the kept connection was lost: port ${found} instead of ${port}`);
            port = found;
            state.kept += 1;
            setTimeout(talk, 5);
        });
    });
    request.on("error", (error) => check(false, `the kept connection: ${error}`));
}
server.listen(8080, "127.0.0.1", talk);
