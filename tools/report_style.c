#include "tools/report_style.h"

#include <stddef.h>

/* Series' colours differ in lightness too, and have a contrast of 3 or more with
 * the page in either mode; words are not coloured but beside a curve's end. */
const char *const qn_report_style[] = {
    ":root{color-scheme:light dark;--page:#fcfcfa;--ink:#1d1f21;--soft:#5d6166;--line:#e2e2dc;"
    "--mark:#fff0b8;--heat:#b3261e;--good:#1b6e3c;--bad:#b3261e;--c0:#1f5fa8;--c1:#b8560f;"
    "--c2:#2b7a4b;--c3:#8a3f9e;--c4:#a8264c;--c5:#0f7c86;--c6:#6d6410;--c7:#5b5f66}\n",
    "@media(prefers-color-scheme:dark){:root{--page:#15171a;--ink:#e8e6e1;--soft:#a2a6ab;"
    "--line:#2e3237;--mark:#5a4a10;--heat:#ff8a75;--good:#7fd19b;--bad:#ff9a8a;--c0:#7db4f0;"
    "--c1:#f0a35e;--c2:#7fcf9c;--c3:#cf9be0;--c4:#f58aa6;--c5:#6fcdd6;--c6:#d6c95c;"
    "--c7:#b5b9bf}}\n",
    "*{box-sizing:border-box}\n",
    "body{margin:0 auto;padding:2.5rem 1.25rem 4rem;max-width:60rem;background:var(--page);"
    "color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',"
    "Arial,sans-serif;text-rendering:optimizeLegibility}\n",
    "h1{font-size:1.9rem;line-height:1.2;font-weight:650;letter-spacing:-.015em;margin:0 0 .4rem;"
    "overflow-wrap:anywhere}\n",
    "h2{font-size:1.25rem;font-weight:650;letter-spacing:-.01em;margin:3rem 0 .3rem}\n",
    "h3{font-size:1rem;font-weight:650;margin:1.8rem 0 .3rem;overflow-wrap:anywhere}\n",
    "p{margin:.3rem 0 .8rem;max-width:44rem}\n",
    ".lead,.note,caption{color:var(--soft)}\n",
    ".note{font-size:.88rem}\n",
    "section{break-inside:avoid-page}\n",
    ".scroll{overflow-x:auto;margin:.8rem 0}\n",
    "table{border-collapse:collapse;width:100%;font-size:.88rem;"
    "font-variant-numeric:tabular-nums lining-nums}\n",
    "caption{text-align:left;font-size:.88rem;padding-bottom:.3rem}\n",
    "th,td{padding:.36rem .55rem;text-align:right;border-bottom:1px solid var(--line);"
    "white-space:nowrap}\n",
    "th{font-weight:500;color:var(--soft);vertical-align:bottom}\n",
    "th:first-child,td:first-child{text-align:left;padding-left:0}\n",
    "th:last-child,td:last-child{padding-right:0}\n",
    "tbody th{color:var(--ink)}\n",
    "td.l,th.l{text-align:left}\n",
    ".err{color:var(--soft);font-size:.82rem}\n",
    ".best th{font-weight:650}.beaten{color:var(--soft)}.beaten th{color:var(--soft)}\n",
    ".key{display:inline-block;width:.62rem;height:.62rem;border-radius:50%;margin-right:.5rem}\n",
    ".pass{color:var(--good);font-weight:600}\n",
    ".fail{color:var(--bad);font-weight:600}\n",
    ".chart{overflow-x:auto;margin:.9rem 0 .4rem}\n",
    "svg{display:block;width:100%;max-width:52rem;min-width:34rem;height:auto;overflow:visible}\n",
    "svg text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,"
    "sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums}\n",
    "svg .tick{font-size:12px;fill:var(--soft)}\n",
    "svg .name,svg .head{font-weight:600}svg .name{paint-order:stroke;stroke:var(--page);"
    "stroke-width:4px}\n",
    "svg .bar-value{fill:var(--soft);font-size:12px}\n",
    "svg .bar-name{font-size:12px}\n",
    ".grid{stroke:var(--line)}\n",
    ".axis{stroke:var(--soft)}\n",
    ".whisker{stroke:var(--ink);stroke-width:1.2}\n",
    ".frontier{fill:none;stroke:var(--soft);stroke-width:1.2;stroke-dasharray:2 4}\n",
    ".curve{fill:none;stroke-width:2.2;stroke-linejoin:round}\n",
    ".ring{fill:var(--page);stroke-width:2.2}\n",
    ".cell{fill:var(--heat)}\n",
    "code,.ctx{font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "font-size:.84rem}\n",
    ".ctx{white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;min-width:15rem}\n",
    "mark{background:var(--mark);color:inherit;border-radius:2px;padding:0 1px}\n",
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.4rem 0;padding:.7rem .9rem;"
    "border:1px solid var(--line);border-radius:6px}\n",
    ".hash{overflow-wrap:anywhere;white-space:normal;min-width:14rem}\n",
    "summary{cursor:pointer;color:var(--soft);font-size:.88rem}\n",
    "footer{margin-top:3.5rem;padding-top:.8rem;border-top:1px solid var(--line);"
    "color:var(--soft);font-size:.85rem}\n",
    "@media(max-width:40rem){body{padding:1.5rem 1rem 3rem}h1{font-size:1.5rem}"
    "th,td{padding:.34rem .5rem}}\n",
    "@media print{:root{--page:#fff;--ink:#000;--soft:#444;--line:#ccc;--mark:#ffefb0;"
    "--heat:#b3261e;--good:#1b6e3c;--bad:#b3261e;--c0:#1f5fa8;--c1:#b8560f;--c2:#2b7a4b;"
    "--c3:#8a3f9e;--c4:#a8264c;--c5:#0f7c86;--c6:#6d6410;--c7:#5b5f66}"
    "body{max-width:none;padding:0;font-size:10pt}.chart,.scroll{overflow:visible}"
    "svg{min-width:0;max-width:17cm}tr,.chart,pre{break-inside:avoid}h2,h3{break-after:avoid}"
    "details::details-content{content-visibility:visible;block-size:auto}"
    "*{print-color-adjust:exact}}\n",
    ".s0{fill:var(--c0);stroke:var(--c0)}.s1{fill:var(--c1);stroke:var(--c1)}"
    ".s2{fill:var(--c2);stroke:var(--c2)}.s3{fill:var(--c3);stroke:var(--c3)}"
    ".s4{fill:var(--c4);stroke:var(--c4)}.s5{fill:var(--c5);stroke:var(--c5)}"
    ".s6{fill:var(--c6);stroke:var(--c6)}.s7{fill:var(--c7);stroke:var(--c7)}\n",
    "svg .t0{fill:var(--c0)}svg .t1{fill:var(--c1)}svg .t2{fill:var(--c2)}svg .t3{fill:var(--c3)}"
    "svg .t4{fill:var(--c4)}svg .t5{fill:var(--c5)}svg .t6{fill:var(--c6)}"
    "svg .t7{fill:var(--c7)}\n",
    ".k0{background:var(--c0)}.k1{background:var(--c1)}.k2{background:var(--c2)}"
    ".k3{background:var(--c3)}.k4{background:var(--c4)}.k5{background:var(--c5)}"
    ".k6{background:var(--c6)}.k7{background:var(--c7)}\n",
    ".curve,.frontier{fill:none}.ring{fill:var(--page)}.bar{stroke:none}\n",
    NULL,
};
