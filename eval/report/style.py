"""The report's looks: one light style sheet, system fonts, no script, nothing fetched."""

CSS = """
:root { color-scheme: light; --ink: #0f172a; --soft: #334155; --muted: #64748b; --line: #e2e8f0; --ground: #f8fafc;
  --accent: #4338ca; --tint: #eef2ff; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.6; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 56px 24px 80px; }
.eyebrow { color: var(--accent); font-size: 13px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase;
  margin: 0 0 10px; }
h1 { font-size: clamp(30px, 4.6vw, 44px); line-height: 1.12; letter-spacing: -.022em; margin: 0 0 18px; }
h2 { font-size: 22px; letter-spacing: -.012em; line-height: 1.25; margin: 0 0 6px; }
p { margin: 0 0 12px; max-width: 74ch; }
.lead { font-size: clamp(18px, 2.1vw, 21px); line-height: 1.5; color: var(--soft); max-width: 62ch;
  margin-bottom: 32px; }
.note { color: var(--muted); font-size: 15px; max-width: 88ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 14px; margin: 0 0 28px; }
.tile { background: white; border: 1px solid var(--line); border-radius: 14px; padding: 18px 20px 16px; }
.tile b { display: block; font-size: 34px; line-height: 1.1; letter-spacing: -.025em; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.tile span { display: block; margin-top: 6px; font-size: 13.5px; line-height: 1.4; color: var(--muted); }
.tile.main { background: var(--accent); border-color: var(--accent); color: white; }
.tile.main span { color: #dfe3ff; }
section { background: white; border: 1px solid var(--line); border-radius: 18px; padding: 28px 30px;
  margin: 0 0 22px; }
.figure { margin: 16px 0 0; overflow-x: auto; }
.figure svg { display: block; width: 100%; min-width: 640px; height: auto; }
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 18px; margin-top: 18px; }
.pictures figure { margin: 0; }
.pictures svg { display: block; width: 100%; height: auto; }
.pictures figcaption { display: flex; justify-content: space-between; gap: 8px; font-size: 13.5px; font-weight: 600; }
.pictures figcaption span { color: var(--muted); font-weight: 400; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 15px; }
.scroll { overflow-x: auto; margin-top: 14px; }
th { text-align: right; color: var(--muted); font-weight: 500; font-size: 13px; padding: 6px 12px; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
td { text-align: right; padding: 10px 12px; border-bottom: 1px solid #f1f5f9; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; min-width: 170px; }
td small { color: var(--muted); font-size: 12.5px; margin-left: 6px; }
td:first-child small { display: block; margin: 0; line-height: 1.35; }
tr:last-child td { border-bottom: 0; }
dl { margin: 14px 0 0; display: grid; grid-template-columns: minmax(120px, 190px) 1fr; gap: 9px 22px;
  font-size: 15px; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
.glossary dt { color: var(--ink); font-weight: 600; }
details { margin-top: 18px; font-size: 14.5px; } summary { cursor: pointer; color: var(--accent); font-weight: 550; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
  overflow-x: auto;  font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { color: var(--muted); font-size: 13.5px; text-align: center; margin-top: 30px; }
@media (max-width: 760px) { main { padding: 32px 14px 48px; } section { padding: 20px 16px; border-radius: 14px; }
  .pictures { grid-template-columns: repeat(2, 1fr); gap: 14px; } dl { grid-template-columns: 1fr; gap: 2px; }
  dd { margin-bottom: 8px; } .tile b { font-size: 28px; } }
@media print { body { background: white; } section, .tile { break-inside: avoid; } }
""".strip()
