// Annotations in graphs. Grafana's own plugin for them is in none of its libraries: these are in its style.

const drawnIn = new WeakSet();
const HANDLE = 5;

export function marked(builder, marks) {
  if (!drawnIn.has(builder)) {
    drawnIn.add(builder);
    builder.addHook('draw', (plot) => draw(plot, marks));
  }
  return null;
}

function draw(plot, marks) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const { from, until, color } of marks) {
    const [left, right] = [from, until].map((time) => Math.round(plot.valToPos(time * 1000, 'x', true)));
    if (right < bbox.left || left > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = color;
    ctx.globalAlpha = 0.1;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 1;
    ctx.setLineDash([5, 5]);
    for (const x of new Set([left, right])) {
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.setLineDash([]);
    const bottom = bbox.top + bbox.height;
    if (left === right) {
      ctx.beginPath();
      ctx.moveTo(left, bottom);
      ctx.lineTo(left - HANDLE, bottom + HANDLE);
      ctx.lineTo(left + HANDLE, bottom + HANDLE);
      ctx.fill();
    } else {
      ctx.fillRect(left, bottom, right - left, HANDLE);
    }
  }
  ctx.restore();
}
