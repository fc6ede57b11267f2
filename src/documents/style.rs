//! How the page that lists a directory looks.

/// Its style, in addition to that of all pages.
pub(super) const STYLE: &str = "h1 a:first-child,h1 span{color:var(--dim);margin-right:.15em}\
h1 span{margin-left:.15em}\
th a{color:var(--dim)}\
th[aria-sort=ascending] a::after{content:' \\2191'}\
th[aria-sort=descending] a::after{content:' \\2193'}\
td:first-child,th:first-child{width:100%;padding-left:.5rem}\
td:first-child a{display:flex;align-items:center;gap:.6rem;padding:.5rem 0;overflow-wrap:anywhere}\
th:nth-child(2),td:nth-child(2){text-align:right}\
td:nth-child(n+2){color:var(--dim);font-size:.9rem;white-space:nowrap;font-variant-numeric:tabular-nums}\
time i{font-style:normal}\
svg{flex:none;width:1.15rem;height:1.15rem;fill:none;stroke:var(--dim);stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}\
p{color:var(--dim);font-size:.9rem;margin:1rem .5rem 0}\
@media(max-width:36rem){td:first-child a{padding:.7rem 0}time i{display:none}}";

/// Its icons: a directory, a file, the way up.
pub(super) const ICONS: &str = "<svg hidden style=\"display:none\">\
<symbol id=\"d\" viewBox=\"0 0 24 24\"><path d=\"M3 6a2 2 0 0 1 2-2h4l2 3h8a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z\"/></symbol>\
<symbol id=\"f\" viewBox=\"0 0 24 24\"><path d=\"M6 3h8l5 5v12a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zm8 0v5h5\"/></symbol>\
<symbol id=\"u\" viewBox=\"0 0 24 24\"><path d=\"M12 20V5m-6 6 6-6 6 6\"/></symbol></svg>";
