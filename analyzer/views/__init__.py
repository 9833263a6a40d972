"""What people look at: lines, tables, the summary as text and as HTML. No analysis, only drawing."""
