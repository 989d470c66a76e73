// Small helpers, and asking ssecar: with a token where one is needed.

const TOKEN = "ssecar-token";

const byId = id => document.getElementById(id);
const sleep = ms => new Promise(done => setTimeout(done, ms));

function text(element, value) {
  if (element.textContent !== String(value)) element.textContent = value;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

class Gone extends Error {}

let login = null;

/** Waits for a token, once for all who need it. */
function askToken(wasWrong) {
  login ??= new Promise(done => {
    byId("login-wrong").hidden = !wasWrong;
    byId("token").value = "";
    byId("login").showModal();
    byId("login-form").onsubmit = () => {
      sessionStorage.setItem(TOKEN, byId("token").value.trim());
      login = null;
      done();
    };
  });
  return login;
}
byId("login").addEventListener("cancel", event => event.preventDefault());

async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = token ? { Authorization: "Bearer " + token } : {};
    const answer = await fetch(path, { ...options, headers, cache: "no-store" });
    if (answer.status === 401) {
      await askToken(token !== null && token === sessionStorage.getItem(TOKEN));
      continue;
    }
    if (answer.status === 404) throw new Gone(path);
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer;
  }
}

const json = async path => (await ask(path)).json();

/** Reads an event stream to its end; `take` gets each event's type and data. */
async function read(path, signal, take) {
  const answer = await ask(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let type = "message", data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) type = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (!data) continue;
      // A fault of the page is no fault of the stream.
      try { take(type, JSON.parse(data)); } catch (error) { reportError(error); }
    }
  }
}
