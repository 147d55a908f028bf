"use strict";

// The server sends parts of the page that have changed, by the ids of their elements. It escapes what is in them.
const live = document.getElementById("live");
const events = new EventSource("/events");
events.onopen = () => { live.textContent = "live"; live.className = "good"; };
events.onerror = () => {
  live.textContent = "kubectl causeway ui has ended or can't be reached. What stands here is old; start it again and open its new link.";
  live.className = "bad";
};
events.onmessage = (e) => {
  for (const [id, html] of Object.entries(JSON.parse(e.data))) document.getElementById(id).innerHTML = html;
};

// Each line of a trace's answer is a JSON string: the picture as it is now.
const form = document.getElementById("ask");
form.addEventListener("submit", async (e) => {
  e.preventDefault();
  const out = document.getElementById("trace");
  const button = form.querySelector("button");
  out.textContent = "The trace begins…";
  button.disabled = true;
  try {
    const answer = await fetch("/trace", { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (!answer.ok) throw new Error(await answer.text());
    const reader = answer.body.getReader();
    const letters = new TextDecoder();
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (rest + letters.decode(part.value, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) out.innerHTML = JSON.parse(line);
    }
  } catch (err) {
    out.textContent = "The trace was lost: " + err.message;
  } finally {
    button.disabled = false;
  }
});
