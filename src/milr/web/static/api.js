// What the page asks the server. The key, where the server wants one, is kept in this tab.

let key = sessionStorage.getItem("milr-key") ?? "";

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the server answered ${status}.`);
    this.status = status;
  }
}

export function useKey(value) {
  key = value;
  sessionStorage.setItem("milr-key", value);
}

function headers(json) {
  return {...(key ? {authorization: `Bearer ${key}`} : {}), ...(json ? {"content-type": "application/json"} : {})};
}

async function send(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, {...options, headers: headers(options.body !== undefined)});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, {error: {message: "the server cannot be reached."}});
  }
  if (answer.ok) return answer;
  throw new ApiError(answer.status, await answer.json().catch(() => null));
}

export const get = async (path) => (await send(path)).json();
export const post = async (path, body) => (await send(path, {method: "POST", body: JSON.stringify(body)})).json();

/** The address of a picture or archive as a blob: a link could not carry the key. */
export async function blob(path) {
  return URL.createObjectURL(await (await send(path)).blob());
}

/** Server-sent events of a POST: calls on(name, data) for each, until the stream ends. Aborting it gives the work up. */
export async function follow(path, body, signal, on) {
  const answer = await send(path, {method: "POST", body: JSON.stringify(body), signal});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const event = block.match(/^event: (.*)\ndata: (.*)$/);
      if (event) on(event[1], JSON.parse(event[2]));
    }
  }
}
