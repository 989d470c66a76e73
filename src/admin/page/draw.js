// Pictures: the breaker's history, and what moved in the last minutes.

const WINDOW_MS = 5 * 60_000;
// A young program's first moments are not drawn at the edge of a pixel.
const WINDOW_MIN_MS = 60_000;
const HISTORY_MS = 60 * 60_000;
const SVG = "http://www.w3.org/2000/svg";

/** The breaker's states from left (an hour ago, or the start) to right (now). */
function drawTimeline(svg, changes, started, now) {
  const from = Math.max(now - HISTORY_MS, Math.min(started, changes[0].at_ms));
  const span = Math.max(now - from, 1000);
  const parts = changes.map((change, index) => {
    const start = Math.max(change.at_ms, from);
    const end = index + 1 < changes.length ? changes[index + 1].at_ms : now;
    return { state: change.state, start, end };
  }).filter(part => part.end >= from);
  svg.replaceChildren(...parts.map(({ state, start, end }) => {
    const part = document.createElementNS(SVG, "rect");
    part.setAttribute("class", state);
    part.setAttribute("x", ((start - from) / span) * 1000);
    // A moment is seen, too.
    part.setAttribute("width", Math.max(((end - start) / span) * 1000, 1.5));
    part.setAttribute("height", 28);
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${state}, ${clock(start)} to ${end === now ? "now" : clock(end)} (${lasted(end - start)})`;
    part.append(title);
    return part;
  }));
  const opened = parts.filter(part => part.state === "open").length;
  svg.setAttribute("aria-label", `The breaker over ${lasted(now - from)}: now ${parts.at(-1).state}, open ${opened} times`);
  return from;
}

/** A line over the last five minutes; where the pointer is, its value. */
class Plot {
  constructor(canvas, unit) {
    this.canvas = canvas;
    this.unit = unit;
    this.points = [];
    this.pointer = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointermove", event => { this.pointer = event.offsetX; this.draw(); });
    canvas.addEventListener("pointerleave", () => { this.pointer = null; this.draw(); });
  }

  /** `points`: [milliseconds, value], oldest first. Answers how many milliseconds the picture holds. */
  show(points, now) {
    this.points = points;
    this.now = now;
    this.span = Math.min(WINDOW_MS, Math.max(WINDOW_MIN_MS, points.length ? now - points[0][0] : 0));
    this.draw();
    return this.span;
  }

  draw() {
    const { canvas, points } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const paint = canvas.getContext("2d");
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const line = style.getPropertyValue("--line"), quiet = style.getPropertyValue("--quiet");
    const top = ceiling(Math.max(1, ...points.map(point => point[1])));
    const x = at => width - ((this.now - at) / this.span) * width;
    const y = value => height - 2 - (value / top) * (height - 16);
    paint.font = "11px system-ui, sans-serif";
    paint.fillStyle = quiet;
    paint.strokeStyle = line;
    paint.lineWidth = 1;
    for (const value of [0, top / 2, top]) {
      const at = Math.round(y(value)) + .5;
      paint.beginPath(); paint.moveTo(0, at); paint.lineTo(width, at); paint.stroke();
      if (value) paint.fillText(short(value), 2, at - 3);
    }
    if (!points.length) return;
    paint.beginPath();
    points.forEach(([at, value], index) => (index ? paint.lineTo(x(at), y(value)) : paint.moveTo(x(at), y(value))));
    paint.strokeStyle = style.color;
    paint.lineWidth = 1.8;
    paint.lineJoin = "round";
    paint.stroke();
    paint.lineTo(x(points.at(-1)[0]), y(0));
    paint.lineTo(x(points[0][0]), y(0));
    paint.globalAlpha = .13;
    paint.fillStyle = style.color;
    paint.fill();
    paint.globalAlpha = 1;
    if (this.pointer === null) return;
    const near = points.reduce((best, point) => (Math.abs(x(point[0]) - this.pointer) < Math.abs(x(best[0]) - this.pointer) ? point : best));
    paint.beginPath();
    paint.arc(x(near[0]), y(near[1]), 3.5, 0, 7);
    paint.fill();
    const text = `${short(near[1])}${this.unit} at ${clock(near[0])}`;
    paint.fillStyle = style.getPropertyValue("--ink");
    paint.font = "600 12px system-ui, sans-serif";
    const wide = paint.measureText(text).width;
    paint.fillText(text, Math.min(Math.max(x(near[0]) - wide / 2, 2), width - wide - 2), 11);
  }
}

/** The next round number. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map(step => step * power).find(step => step >= value);
}

function short(value) {
  if (value >= 1e9) return (value / 1e9).toFixed(1) + "G";
  if (value >= 1e6) return (value / 1e6).toFixed(1) + "M";
  if (value >= 1e4) return (value / 1e3).toFixed(1) + "k";
  return value < 10 && value % 1 ? value.toFixed(1) : String(Math.round(value));
}

function size(bytes) {
  for (const [unit, of] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (bytes >= of) return (bytes / of).toFixed(1) + " " + unit;
  }
  return bytes + " B";
}

function lasted(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return seconds + " s";
  const two = (big, bigName, small, smallName) => big + bigName + (small ? ` ${small}${smallName}` : "");
  if (seconds < 3600) return two(Math.floor(seconds / 60), " min", seconds % 60, " s");
  if (seconds < 86400) return two(Math.floor(seconds / 3600), " h", Math.floor((seconds % 3600) / 60), " min");
  return two(Math.floor(seconds / 86400), " d", Math.floor((seconds % 86400) / 3600), " h");
}

function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour12: false });
}
