%% The log of one scenario: appended to in the process where a thing happens, so its order is the order of events.
%%
%% A death is noticed by whoever writes the next line: first come the ends of all that died since the last line, by name.
%% Supervisor reports come in through logger, whose handlers run in the process that logs: the supervisor.
-module(oracle_log).
-export([new/1, lines/1, line/3, born/5, bury/1, name/2, count/2, place/2, latest/2, supervisors/1, is_someone_ending/1, reason/1]).
-export([install/0, log/2, by_pid/2]).

new(Runner) ->
    Tab = ets:new(oracle, [public, ordered_set]),
    Witness = spawn_opt(fun() -> witness(Tab) end, [link, {priority, high}]),
    ets:insert(Tab, [{seq, 0}, {runner, Runner}, {witness, Witness}]),
    Tab.

lines(Tab) ->
    [text(Tab, Entry) || [Entry] <- ets:match(Tab, {{line, '_'}, '$1'})].

line(Tab, Format, Args) ->
    bury(Tab),
    append(Tab, unicode:characters_to_binary(io_lib:format(Format, Args))).

%% A process is up: from now on its end is logged.
born(Tab, Path, Count, Kind, Pid) ->
    [{_, Witness}] = ets:lookup(Tab, witness),
    Ref = make_ref(),
    Witness ! {watch, self(), Ref, Pid},
    receive {Ref, watched} -> ok end,
    ets:insert(Tab, [{{alive, Pid}, name(Path, Count)}, {{unseen, Pid}}, {{place, Path}, Kind, Pid}, {{path, Pid}, Path}]).

bury(Tab) ->
    Alive = [{Name, Pid} || [Pid, Name] <- ets:match(Tab, {{alive, '$1'}, '$2'})],
    Dead = lists:sort([Item || {_, Pid} = Item <- Alive, not is_process_alive(Pid)]),
    %% Children that are stopped at the same time may get here at the same time.
    [append(Tab, {ended, Name, Pid}) || {Name, Pid} <- Dead, ets:take(Tab, {alive, Pid}) =/= []].

%% The n-th start of a path, for ever: n names the incarnation.
count(Tab, Path) ->
    ets:update_counter(Tab, {count, Path}, 1, {{count, Path}, 0}).

name(Path, Count) ->
    iolist_to_binary([Path, $#, integer_to_binary(Count)]).

%% What lives at a path: {Kind, Pid} or nothing.
place(Tab, Path) ->
    case ets:lookup(Tab, {place, Path}) of
        [{_, Kind, Pid}] -> case is_process_alive(Pid) of true -> {Kind, Pid}; false -> nothing end;
        [] -> nothing
    end.

%% The pid that a path had last, also when it is dead; some dead pid where it never had one.
latest(Tab, Path) ->
    case ets:lookup(Tab, {place, Path}) of
        [{_, _, Pid}] -> Pid;
        [] -> {Pid, Ref} = spawn_monitor(fun() -> ok end), receive {'DOWN', Ref, _, _, _} -> Pid end
    end.

%% All supervisors that are up: {Path, Kind, Pid}.
supervisors(Tab) ->
    [{Path, Kind, Pid} || [Path, Kind, Pid] <- ets:match(Tab, {{place, '$1'}, '$2', '$3'}),
        Kind =/= worker, is_process_alive(Pid)].

%% A process tells its links that it ended, then its monitors: until the witness knows, a supervisor may not.
is_someone_ending(Tab) ->
    lists:any(fun([Pid]) -> not is_process_alive(Pid) end, ets:match(Tab, {{unseen, '$1'}})).

%% An exit reason as the scenarios write it.
reason(Reason) when is_atom(Reason) -> atom_to_binary(Reason);
reason({shutdown, What}) -> iolist_to_binary(["shutdown:", reason(What)]);
reason({failed_to_start_child, Id, Why}) -> iolist_to_binary(["failed_to_start_child:", Id, ":", reason(Why)]).

append(Tab, Entry) ->
    ets:insert(Tab, {{line, ets:update_counter(Tab, seq, 1)}, Entry}).

text(Tab, {ended, Name, Pid}) ->
    [{_, Reason}] = ets:lookup(Tab, {ended, Pid}),
    iolist_to_binary(["end ", Name, " ", reason(Reason)]);
text(_, Line) ->
    Line.

%% Learns the exit reason of everybody: a process that is killed cannot tell it itself.
witness(Tab) ->
    receive
        {watch, From, Ref, Pid} -> monitor(process, Pid), From ! {Ref, watched};
        {'DOWN', _, process, Pid, Reason} -> ets:insert(Tab, {{ended, Pid}, Reason}), ets:delete(Tab, {unseen, Pid})
    end,
    witness(Tab).

%% logger handler

install() ->
    logger:set_primary_config(level, info),
    [logger:remove_handler(Id) || Id <- logger:get_handler_ids()],
    logger:add_handler(oracle, ?MODULE, #{}).

log(#{msg := {report, #{label := {supervisor, Context}, report := Report}}}, _) ->
    case get(oracle) of
        undefined -> ok;
        {Tab, Path} -> report(Tab, Path, Context, Report)
    end;
log(_, _) ->
    ok.

report(Tab, Path, progress, Report) ->
    line(Tab, "up ~s", [child(Tab, Path, lists:keyfind(started, 1, Report))]);
report(Tab, Path, Context, Report) ->
    {_, Reason} = lists:keyfind(reason, 1, Report),
    line(Tab, "report ~s ~s ~s", [Context, child(Tab, Path, lists:keyfind(offender, 1, Report)), reason(Reason)]).

%% The path of a child in a report. A dynamic supervisor's children have no ids.
child(Tab, Path, {_, Child}) ->
    case lists:keyfind(id, 1, Child) of
        {_, undefined} -> by_pid(Tab, lists:keyfind(pid, 1, Child));
        {_, Id} -> [Path, "/", Id]
    end.

by_pid(Tab, {pid, {restarting, Pid}}) -> by_pid(Tab, {pid, Pid});
by_pid(Tab, {pid, Pid}) -> [{_, Path}] = ets:lookup(Tab, {path, Pid}), Path.
