// Draws the charts of a report with uPlot. The page has tables that sum up the same data, and works without this script.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = [];

  // ---- Text ----

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const count = (number) => number.toLocaleString("en-US");
  const plural = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;
  // A number with at most three digits, without zeros at its end.
  const short = (number) => String(Number(number.toPrecision(3)));

  // A duration in microseconds, in the units of the tables.
  function duration(micros) {
    if (micros < 1e3) return `${short(micros)} µs`;
    if (micros < 999500) return `${short(micros / 1e3)} ms`;
    if (micros < 6e7) return `${short(micros / 1e6)} s`;
    const seconds = Math.floor(micros / 1e6);
    const two = (number) => String(number).padStart(2, "0");
    if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${two(Math.floor(seconds / 60) % 60)}m`;
    return `${count(Math.floor(seconds / 86400))}d ${two(Math.floor(seconds / 3600) % 24)}h`;
  }

  // A number of an axis: 1.2k, 3M.
  function compact(number) {
    for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (number >= unit) return short(number / unit) + name;
    }
    return short(number);
  }

  // The time of day at a place of the timeline.
  function timeOfDay(position) {
    let rest = position;
    for (const [start, length] of data.timeline.periods) {
      if (rest <= length) {
        const date = new Date((start + rest) / 1e3);
        return isNaN(date) ? "" : date.toISOString().replace("T", " ").replace("Z", "");
      }
      rest -= length;
    }
    return "";
  }

  // ---- What all charts share ----

  const FONT = "12px system-ui, sans-serif";
  const axis = (options) => ({
    font: FONT, labelFont: FONT, labelSize: 20, stroke: () => colour("text"),
    grid: { stroke: () => colour("grid"), width: 1 }, ticks: { stroke: () => colour("line"), width: 1, size: 5 }, ...options,
  });

  // Distances between the labels of times: round numbers of microseconds up to 20 s, then of minutes, and of days.
  const MINUTE = 6e7;
  const DAY = 1440 * MINUTE;
  const round = (unit, powers) => powers.flatMap((power) => [1, 2, 5].map((step) => step * power * unit));
  const TIMES = [
    ...round(1, [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6]), 1e7, 2e7,
    ...[0.5, 1, 2, 5, 10, 20, 30, 60, 120, 360, 720].map((minutes) => minutes * MINUTE),
    ...round(DAY, [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7]),
  ];
  const COUNTS = round(1, [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]);

  // Labels of times must differ where the distance between them is small.
  function timeLabels(_plot, splits, _axis, _space, step) {
    return splits.map((time) => {
      if (time === 0) return "0";
      if (step >= 1e6 && time >= MINUTE) return duration(time);
      const [unit, name] = step < 1 || time < 1e3 ? [1, "µs"] : time < 1e6 ? [1e3, "ms"] : [1e6, "s"];
      return `${Number((time / unit).toFixed(6))} ${name}`;
    });
  }

  // Both charts over time have the same room for the labels at their left side, so that one is below the other.
  const labels = data.timeline ? data.timeline.lanes.map((lane) => lane.label) : [];
  const LEFT = Math.max(45, 18 + 7.5 * Math.max(0, ...labels.map((label) => label.length)));
  const BOTTOM = 30;

  function create(id, height, options, columns) {
    const figure = document.getElementById(id);
    if (!figure) return undefined;
    figure.hidden = false;
    const place = figure.querySelector(".plot");
    const readout = figure.querySelector(".readout");
    const width = () => Math.max(200, Math.floor(place.clientWidth));
    const plot = new uPlot({
      width: width(), height, legend: { show: false }, ...options,
      cursor: { points: { show: false }, y: false, ...options.cursor },
      hooks: {
        ...options.hooks,
        setCursor: [(of) => {
          const inside = of.cursor.left >= 0 && of.cursor.top >= 0;
          readout.textContent = inside ? options.describe(of, of.posToVal(of.cursor.left, "x"), of.posToVal(of.cursor.top, "y")) : "";
        }],
      },
    }, columns, place);
    new ResizeObserver(() => {
      if (plot.width !== width()) plot.setSize({ width: width(), height });
    }).observe(place);
    charts.push(plot);
    return plot;
  }

  // ---- Charts over time ----

  const overTime = [];
  const length = Math.max(1, data.timeline ? data.timeline.length : 1);
  let shown = { min: 0, max: length };

  // Shows a part of the time in all charts over time.
  function show(min, max) {
    const least = Math.min(length, Math.max(length / 1e5, 10));
    const wanted = Math.min(length, Math.max(least, max - min));
    const start = Math.min(Math.max(0, (min + max - wanted) / 2), length - wanted);
    shown = { min: start, max: start + wanted };
    for (const plot of overTime) plot.setScale("x", shown);
    const whole = wanted >= length;
    document.querySelector("#timeline-chart .range").textContent =
      whole ? "" : `${duration(shown.min)} to ${duration(shown.max)} are shown`;
  }

  // The scale of the time. A part that was chosen with the pointer is shown in the other charts too.
  const timeScale = () => ({ time: false, range: (plot, min, max) => [min ?? 0, max ?? length] });
  const follow = [(plot, key) => {
    const { min, max } = plot.scales.x;
    if (key === "x" && overTime.includes(plot) && (min !== shown.min || max !== shown.max)) {
      const chosen = min === 0 && max === length ? { min: 0, max: length } : { min, max };
      shown = chosen;
      queueMicrotask(() => show(chosen.min, chosen.max));
    }
  }];

  function zoom(action) {
    const { min, max } = shown;
    const span = max - min;
    const centre = (min + max) / 2;
    if (action === "in") show(centre - span / 4, centre + span / 4);
    if (action === "out") show(centre - span, centre + span);
    if (action === "earlier") show(Math.max(0, min - span / 2), Math.max(span, max - span / 2));
    if (action === "later") show(Math.min(length - span, min + span / 2), Math.min(length, max + span / 2));
    if (action === "all") show(0, length);
  }

  // Draws single tasks: those that failed are higher than the others.
  function drawTasks(plot, tasks, rowTop, row) {
    const { ctx, bbox } = plot;
    for (const failed of [0, 1]) {
      ctx.fillStyle = colour(failed ? "bad-mark" : "good-mark");
      for (const [lane, start, run, hasFailed] of tasks) {
        if (hasFailed !== failed) continue;
        const left = Math.max(bbox.left, plot.valToPos(start, "x", true));
        const right = Math.min(bbox.left + bbox.width, plot.valToPos(start + run, "x", true));
        if (right < bbox.left || left > bbox.left + bbox.width) continue;
        const height = row * (failed ? 0.9 : 0.6);
        // Neighbours stay apart where there is room.
        const gap = right - left > 4 * uPlot.pxRatio ? uPlot.pxRatio : 0;
        ctx.fillRect(left, rowTop(lane) + (row - height) / 2, Math.max(uPlot.pxRatio, right - left - gap), height);
      }
    }
  }

  // Draws bins: the higher a bar, the busier the workers. The part of its tasks that failed is at its foot.
  function drawBins(plot, lanes, width, rowTop, row) {
    const { ctx, bbox } = plot;
    const perColumn = Math.max(1, (plot.scales.x.max - plot.scales.x.min) / bbox.width / width);
    const good = colour("good-mark");
    const bad = colour("bad-mark");
    lanes.forEach((of, lane) => {
      const top = rowTop(lane);
      const first = Math.max(0, Math.floor(plot.scales.x.min / width));
      const last = Math.min(of.busy.length - 1, Math.floor(plot.scales.x.max / width));
      for (let from = first; from <= last;) {
        const to = Math.min(last + 1, Math.max(from + 1, Math.floor((Math.floor(from / perColumn) + 1) * perColumn)));
        let busy = 0;
        let ended = 0;
        let failed = 0;
        for (let bin = from; bin < to; bin++) {
          busy += of.busy[bin];
          ended += of.ended[bin];
          failed += of.failed[bin];
        }
        const left = Math.max(bbox.left, Math.round(plot.valToPos(from * width, "x", true)));
        const right = Math.min(bbox.left + bbox.width, Math.max(left + 1, Math.round(plot.valToPos(to * width, "x", true))));
        const height = busy > 0 ? Math.max(uPlot.pxRatio, row * 0.85 * Math.min(1, busy / (to - from) / 1000)) : 0;
        if (busy > 0) {
          ctx.fillStyle = good;
          ctx.fillRect(left, top + row * 0.95 - height, right - left, height);
        }
        if (failed > 0) {
          ctx.fillStyle = bad;
          const part = Math.max(uPlot.pxRatio, height * failed / ended);
          ctx.fillRect(left, top + row * 0.95 - part, right - left, part);
        }
        from = to;
      }
    });
  }

  function drawLanes(plot) {
    const { ctx, bbox } = plot;
    const row = bbox.height / data.timeline.lanes.length;
    const rowTop = (lane) => bbox.top + lane * row;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    if (data.timeline.tasks) drawTasks(plot, data.timeline.tasks, rowTop, row);
    else drawBins(plot, data.timeline.lanes, data.timeline.width, rowTop, row);
    // Between two runs there is a gap that the chart leaves out.
    ctx.strokeStyle = colour("muted");
    ctx.setLineDash([4 * uPlot.pxRatio, 4 * uPlot.pxRatio]);
    let position = 0;
    for (const [, periodLength] of data.timeline.periods.slice(0, -1)) {
      position += periodLength;
      const x = plot.valToPos(position, "x", true);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  // Says what is at a place of the timeline.
  function describeLane(plot, x, y) {
    const { lanes, tasks, width } = data.timeline;
    const number = Math.min(lanes.length - 1, Math.max(0, lanes.length - 1 - Math.floor(y)));
    const lane = lanes[number];
    const place = `${lane.name}, ${duration(Math.max(0, x))} (${timeOfDay(Math.max(0, x))})`;
    if (tasks) {
      const near = 3 * (plot.scales.x.max - plot.scales.x.min) / plot.bbox.width;
      const found = tasks.filter(([of, start, run]) => of === number && start - near <= x && x <= start + run + near);
      if (found.length === 0) return `${place}: no task`;
      const names = found.slice(0, 3).map(([, , run, , name]) => `${name}, ${duration(run)}`);
      return `${place}: ${names.join("; ")}${found.length > 3 ? `; and ${count(found.length - 3)} more` : ""}`;
    }
    const perPixel = (plot.scales.x.max - plot.scales.x.min) / plot.over.clientWidth / width;
    const first = Math.max(0, Math.min(lane.busy.length - 1, Math.floor(x / width)));
    const end = Math.min(lane.busy.length, first + Math.max(1, Math.round(perPixel)));
    const sum = (values) => values.slice(first, end).reduce((total, value) => total + value, 0);
    const busy = sum(lane.busy) / (end - first) / 10;
    return `${place}, in ${duration((end - first) * width)}: ${plural(sum(lane.ended), "task")}, ${count(sum(lane.failed))} failed, ${short(busy)} % busy`;
  }

  function createTimeline() {
    const { lanes } = data.timeline;
    const row = lanes.length <= 8 ? 28 : lanes.length <= 24 ? 18 : 11;
    const every = Math.ceil(15 / row);
    const middles = lanes.map((_, lane) => lanes.length - lane - 0.5).filter((_, lane) => lane % every === 0);
    const plot = create("timeline-chart", lanes.length * row + BOTTOM + 38, {
      describe: describeLane,
      cursor: { y: true, drag: { x: true, y: false } },
      scales: { x: timeScale(), y: { range: [0, lanes.length] } },
      series: [{}, { show: true, paths: () => null, points: { show: false } }],
      axes: [
        axis({ label: "time", size: BOTTOM, incrs: TIMES, values: timeLabels, space: 70 }),
        axis({
          label: "worker", size: LEFT, splits: () => middles, grid: { show: false },
          values: () => labels.filter((_, lane) => lane % every === 0),
        }),
      ],
      hooks: { draw: [drawLanes], setScale: follow },
    }, [[0, length], [0, 0]]);
    if (!plot) return;
    overTime.push(plot);
    for (const button of document.querySelectorAll("#timeline-chart [data-zoom]")) {
      button.addEventListener("click", () => zoom(button.dataset.zoom));
    }
  }

  function createThroughput() {
    const { starts, ended, failed, width } = data.throughput;
    const perSecond = (counts) => {
      const rates = counts.map((number) => number / (width / 1e6));
      return [...rates, rates[rates.length - 1]];
    };
    const stepped = uPlot.paths.stepped({ align: 1 });
    const series = (name) => ({
      paths: stepped, points: { show: false }, width: 0, fill: () => colour(name),
    });
    const plot = create("throughput-chart", 240, {
      describe: (_plot, x) => {
        const after = starts.findIndex((start) => start > x);
        const at = (after < 0 ? starts.length : Math.max(1, after)) - 1;
        const rate = short(ended[at] / (width / 1e6));
        return `${duration(starts[at])} (${timeOfDay(starts[at])}): ${plural(ended[at], "task")} ended, ${count(failed[at])} failed, ${rate} per second`;
      },
      cursor: { drag: { x: true, y: false } },
      scales: { x: timeScale(), y: { range: (_plot, _min, max) => [0, (max || 1) * 1.05] } },
      series: [{}, series("good-mark"), series("bad-mark")],
      axes: [
        axis({ label: "time", size: BOTTOM, incrs: TIMES, values: timeLabels, space: 70 }),
        axis({ label: "tasks per second", size: LEFT, values: (_plot, splits) => splits.map(compact) }),
      ],
      hooks: { setScale: follow },
    }, [[...starts, Math.max(length, starts[starts.length - 1] + width)], perSecond(ended), perSecond(failed)]);
    if (plot) overTime.push(plot);
  }

  // ---- Histograms ----

  function createHistogram(id, { edges, counts }) {
    if (counts.length === 0) return;
    create(id, 220, {
      describe: (_plot, x) => {
        const bin = Math.min(counts.length - 1, Math.max(0, Math.round(x)));
        return `${duration(edges[bin])} to ${duration(edges[bin + 1])}: ${plural(counts[bin], "task")}`;
      },
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: [-0.5, counts.length - 0.5] },
        y: { range: (_plot, _min, max) => [0, (max || 1) * 1.05] },
      },
      series: [{}, { paths: uPlot.paths.bars({ size: [0.9, 80] }), points: { show: false }, width: 0, fill: () => colour("good-mark") }],
      axes: [
        axis({
          size: BOTTOM,
          splits: (plot) => {
            const every = Math.ceil(edges.length * 64 / Math.max(64, plot.width - 70));
            return edges.map((_, edge) => edge - 0.5).filter((_, edge) => edge % every === 0);
          },
          values: (_plot, splits) => splits.map((split) => duration(edges[Math.round(split + 0.5)])),
          grid: { show: false },
        }),
        axis({ label: "tasks", size: 45, incrs: COUNTS, values: (_plot, splits) => splits.map(compact) }),
      ],
    }, [counts.map((_, bin) => bin), counts]);
  }

  if (data.timeline) createTimeline();
  if (data.throughput) createThroughput();
  createHistogram("queue-chart", data.queue);
  createHistogram("run-chart", data.run);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((plot) => plot.redraw(false)));
})();
