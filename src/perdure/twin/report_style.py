"""How pages of the twin look: in light and in dark, on a telephone and on a wide screen."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b2226; --soft: #5d6a72; --line: #dbe1e4; --paper: #fcfdfd;
  --panel: #f2f5f6; --warn: #8a5a00; --warnpaper: #fdf4df;
  --c0: #1f6fb2; --c1: #e08a00; --c2: #12876a; --c3: #c2461c; --c4: #4aa3d8; --c5: #b0609a; --c6: #b79b00;
  --c7: #6b7780; --c8: #7c4fc4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9eb; --soft: #98a5ac; --line: #30393f;
  --paper: #13181b; --panel: #1b2226; --warn: #f0c36a; --warnpaper: #2c2413;
  --c0: #5aa9e6; --c1: #f0a63c; --c2: #3fbf98; --c3: #ee7a4e; --c4: #8cc9ee; --c5: #d894c2; --c6: #dcc545;
  --c7: #9aa6ae; --c8: #ab8bea; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1240px;
  margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 .8rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .3rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { max-width: 76ch; margin: .3rem 0 .8rem; } .soft, figcaption, dt { color: var(--soft); }
dl.run { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0 0 1rem; }
dl.run dd { margin: 0; overflow-wrap: anywhere; }
.warn { color: var(--warn); background: var(--warnpaper); padding: .5rem .8rem; border-radius: .4rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); gap: .7rem; padding: 0;
  margin: 1rem 0; list-style: none; }
.tiles li { background: var(--panel); border-radius: .5rem; padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.3rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles span { display: block; font-size: 13px; color: var(--soft); }
.grid3 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figcaption { font-size: 13.5px; }
svg { width: 100%; height: auto; display: block; } svg.bar { height: 1.1rem; min-width: 90px; }
.grid { stroke: var(--line); fill: none; } .tick, .axis { font-size: 11.5px; fill: var(--soft); }
.curve { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
.area { fill: var(--c); opacity: .22; } .fill { fill: var(--c); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none; padding: 0;
  margin: .2rem 0 .5rem; font-size: 13px; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: .2em; margin-right: .4em;
  background: var(--c); }
.scroll { overflow-x: auto; } .scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--c0); }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; }
thead th { vertical-align: bottom; }
td, th { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; }
td small, th small { color: var(--soft); display: block; font-weight: 400; }
th small { white-space: nowrap; }
td.bars { width: 60%; padding-top: .45rem; }
th[scope=row] { min-width: 5.5rem; }
td.long { color: var(--soft); overflow-wrap: anywhere; min-width: 14rem; }
.status { font-size: 12px; padding: 0 .45em; border-radius: .7em; background: var(--panel);
  white-space: nowrap; }
.estimate { color: var(--warn); background: var(--warnpaper); }
@media (max-width: 800px) { th small, .n small { white-space: normal; } td.long { min-width: 11rem; }
  th[scope=row] { overflow-wrap: anywhere; max-width: 9rem; } }
summary { cursor: pointer; padding: .3rem 0; }
""" + "\n".join(f".c{number} {{ --c: var(--c{number}); }}" for number in range(9))
