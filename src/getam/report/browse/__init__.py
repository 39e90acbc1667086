"""The gallery of `getam report`: one page, its pictures beside it, and what it sorts them by."""
